process SCCR_TUNE {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://github.com/sccr-node/sccr-node/releases/download/v0.1.0/sccr-node-0.1.0.sif' :
        'ghcr.io/sccr-node/sccr-node:0.1.0' }"

    input:
    tuple val(meta), path(anndata, stageAs: 'input/*'), path(genes, stageAs: 'genes/*')
    val input_layer
    val batch_key
    val target_sum

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
    def layer_option  = input_layer && input_layer != 'X' ? "--layer '${input_layer}'" : ''
    def batch_option  = batch_key ? "--batch-key '${batch_key}'" : ''
    def depth_option  = target_sum ? "--target-sum ${target_sum}" : ''
    def memory_option = task.memory ? "--max-memory ${task.memory.toMega()}MiB" : ''
    """
    sccr tune \\
        ${layer_option} \\
        ${batch_option} \\
        ${genes_option} \\
        ${depth_option} \\
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
