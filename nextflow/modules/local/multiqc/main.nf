// Inputs and outputs are those of nf-core's module, which can take its place.
process MULTIQC {
    tag "$meta.id"
    label 'process_single'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://depot.galaxyproject.org/singularity/multiqc:1.35--pyhdfd78af_1' :
        'quay.io/biocontainers/multiqc:1.35--pyhdfd78af_1' }"

    input:
    tuple val(meta), path(multiqc_files, stageAs: '?/*'), path(multiqc_config, stageAs: '?/*'), path(multiqc_logo), path(replace_names), path(sample_names)

    output:
    tuple val(meta), path("*.html")  , emit: report
    tuple val(meta), path("*_data")  , emit: data
    tuple val(meta), path("*_plots") , emit: plots, optional: true
    // Not on the topic: the report contains what is on it, and would wait for itself.
    tuple val("${task.process}"), val('multiqc'), eval('multiqc --version | sed "s/.* //"'), emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args    = task.ext.args ?: ''
    def prefix  = task.ext.prefix ? "--filename ${task.ext.prefix}.html" : ''
    def config  = multiqc_config ? [multiqc_config].flatten().collect { file -> "--config ${file}" }.join(' ') : ''
    def logo    = multiqc_logo ? "--cl-config 'custom_logo: \"${multiqc_logo}\"'" : ''
    def replace = replace_names ? "--replace-names ${replace_names}" : ''
    def samples = sample_names ? "--sample-names ${sample_names}" : ''
    """
    multiqc \\
        --force \\
        ${args} \\
        ${config} \\
        ${prefix} \\
        ${logo} \\
        ${replace} \\
        ${samples} \\
        .
    """

    stub:
    def prefix = task.ext.prefix ?: 'multiqc_report'
    """
    mkdir ${prefix}_data
    touch ${prefix}.html
    """
}
