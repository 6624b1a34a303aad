process SCCR_TUNE {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://depot.galaxyproject.org/singularity/sccr-node:0.1.0--py312h0000000_0' :
        'quay.io/biocontainers/sccr-node:0.1.0--py312h0000000_0' }"

    input:
    tuple val(meta), path(anndata, stageAs: 'input/*'), path(genes, stageAs: 'genes/*')

    output:
    tuple val(meta), path("*.yaml"), emit: config
    tuple val(meta), path("*.tsv") , emit: table
    tuple val(meta), path("*.json"), emit: json
    tuple val(meta), path("*.html"), emit: report
    tuple val("${task.process}"), val('sccr'), eval('sccr --version'), emit: versions_sccr, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def prefix = task.ext.prefix ?: "${meta.id}_tuned"
    def genes_option  = genes ? "--genes ${genes}" : ''
    def memory_option = task.memory ? "--max-memory ${task.memory.toMega()}MiB" : ''
    """
    sccr tune \\
        ${genes_option} \\
        ${args} \\
        --threads ${task.cpus} \\
        ${memory_option} \\
        --output ${prefix}.yaml \\
        --table ${prefix}.tsv \\
        --json ${prefix}.json \\
        --report ${prefix}.html \\
        ${anndata}
    """

    stub:
    def prefix = task.ext.prefix ?: "${meta.id}_tuned"
    """
    touch ${prefix}.yaml
    touch ${prefix}.tsv
    touch ${prefix}.json
    touch ${prefix}.html
    """
}
