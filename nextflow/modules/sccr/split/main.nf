process SCCR_SPLIT {
    tag "$meta.id"
    label 'process_low'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://depot.galaxyproject.org/singularity/sccr-node:0.1.0--py312h0000000_0' :
        'quay.io/biocontainers/sccr-node:0.1.0--py312h0000000_0' }"

    input:
    tuple val(meta), path(anndata, stageAs: 'input/*'), path(genes, stageAs: 'genes/*')
    val batch_key

    output:
    tuple val(meta), path("*_parts/*.h5ad")        , emit: parts
    tuple val(meta), path("*_parts/genes.txt")     , emit: genes
    tuple val(meta), path("*_parts/target_sum.txt"), emit: target_sum, optional: true
    tuple val("${task.process}"), val('sccr'), eval('sccr --version'), emit: versions_sccr, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def prefix = task.ext.prefix ?: "${meta.id}_parts"
    def genes_option = genes ? "--genes ${genes}" : ''
    """
    sccr split \\
        --batch-key '${batch_key}' \\
        ${genes_option} \\
        ${args} \\
        --outdir ${prefix} \\
        ${anndata}
    """

    stub:
    def prefix = task.ext.prefix ?: "${meta.id}_parts"
    """
    mkdir ${prefix}
    touch ${prefix}/batch_1.h5ad
    touch ${prefix}/batch_2.h5ad
    touch ${prefix}/genes.txt
    echo 1000 > ${prefix}/target_sum.txt
    """
}
