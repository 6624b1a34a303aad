// What a run tells of itself: its parameters, for MultiQC.

include { schema_properties } from '../validation'

/** Return a text with the characters escaped that mean something in HTML. */
def html_of(value) {
    return value.toString().replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')
}

/** Return the parameters that were set to something else than their defaults, by name, in the schema's order. */
def parameters_set(given) {
    return schema_properties()
        .findAll { name, schema -> !schema.hidden && given[name] != null && "${given[name]}" != "${schema['default']}" }
        .collectEntries { name, _schema -> [name, given[name]] }
}

/** Return a section of MultiQC's report. It has nothing in it that differs between runs of the same work, such as times. */
def summary_section(given) {
    def facts = ['Workflow version': workflow.manifest.version, 'Nextflow version': workflow.nextflow.version] + parameters_set(given)
    def rows = facts.collect { name, value -> "    <dt>${html_of(name)}</dt><dd><samp>${html_of(value)}</samp></dd>" }
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
