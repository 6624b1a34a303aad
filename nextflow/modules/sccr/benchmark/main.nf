process SCCR_BENCHMARK {
    tag "$meta.id"
    label 'process_high'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://github.com/sccr-node/sccr-node/releases/download/v0.1.0/sccr-node-0.1.0.sif' :
        'ghcr.io/sccr-node/sccr-node:0.1.0' }"

    input:
    tuple val(meta), path(anndata, stageAs: 'input/*')
    val input_layer
    val label_key

    output:
    tuple val(meta), path("*.tsv") , emit: tsv
    tuple val(meta), path("*.json"), emit: json
    tuple val("${task.process}"), val('sccr'), eval('sccr --version'), emit: versions_sccr, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def prefix = task.ext.prefix ?: "${meta.id}_benchmark"
    def layer_option = input_layer && input_layer != 'X' ? "--layer '${input_layer}'" : ''
    def label_option = label_key ? "--label-key '${label_key}'" : ''
    """
    export MPLCONFIGDIR=./tmp/mpl
    export NUMBA_CACHE_DIR=./tmp/numba

    sccr benchmark \\
        ${layer_option} \\
        ${label_option} \\
        ${args} \\
        --threads ${task.cpus} \\
        --output ${prefix}.tsv \\
        --json ${prefix}.json \\
        ${anndata}
    """

    stub:
    def prefix = task.ext.prefix ?: "${meta.id}_benchmark"
    """
    touch ${prefix}.tsv
    touch ${prefix}.json
    """
}
