// What a run tells of itself: its parameters, for MultiQC.

include { schemaProperties } from '../validation'

/** Return a text with the characters escaped that mean something in HTML. */
def htmlOf(value) {
    return value.toString().replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')
}

/** Return the parameters that were set to something else than their defaults, by name, in the schema's order. */
def parametersSet(given) {
    return schemaProperties()
        .findAll { name, schema -> !schema.hidden && given[name] != null && "${given[name]}" != "${schema['default']}" }
        .collectEntries { name, _schema -> [name, given[name]] }
}

/** Return a section of MultiQC's report. It has nothing in it that differs between runs of the same work, such as times. */
def summarySection(given) {
    def facts = ['Workflow version': workflow.manifest.version, 'Nextflow version': workflow.nextflow.version] + parametersSet(given)
    def rows = facts.collect { name, value -> "    <dt>${htmlOf(name)}</dt><dd><samp>${htmlOf(value)}</samp></dd>" }
    def lines = [
        "id: 'sccr_node_summary'",
        "section_name: 'Workflow summary'",
        "section_href: '${workflow.manifest.homePage}'",
        "description: 'Parameters that differ from the defaults.'",
        "plot_type: 'html'",
        'data: |',
        '    <dl class="dl-horizontal">'
    ]
    return (lines + rows + ['    </dl>', '']).join('\n')
}
