process MULTIQC {
    label 'process_single'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://depot.galaxyproject.org/singularity/multiqc:1.31--pyhdfd78af_0' :
        'quay.io/biocontainers/multiqc:1.31--pyhdfd78af_0' }"

    input:
    path content, stageAs: '?/*'
    path config

    output:
    path "*multiqc_report.html", emit: report
    path "*_data"              , emit: data
    tuple val("${task.process}"), val('multiqc'), eval('multiqc --version | sed "s/.* //"'), emit: versions_multiqc, topic: versions

    script:
    def args = task.ext.args ?: ''
    """
    multiqc --force ${args} --config ${config} .
    """

    stub:
    """
    mkdir multiqc_data
    touch multiqc_report.html
    """
}
