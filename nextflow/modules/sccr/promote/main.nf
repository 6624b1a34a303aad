process SCCR_PROMOTE {
    tag "$meta.id"
    label 'process_single'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://depot.galaxyproject.org/singularity/sccr-node:0.1.0--py312h0000000_0' :
        'quay.io/biocontainers/sccr-node:0.1.0--py312h0000000_0' }"

    input:
    tuple val(meta), path(anndata, stageAs: 'input/*')

    output:
    tuple val(meta), path("*.{h5ad,zarr}"), emit: anndata
    tuple val("${task.process}"), val('sccr'), eval('sccr --version'), emit: versions_sccr, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def prefix = task.ext.prefix ?: "${meta.id}_working"
    def output = anndata.name.endsWith('.zarr') ? "${prefix}.zarr" : "${prefix}.h5ad"
    """
    sccr promote \\
        ${args} \\
        ${anndata} \\
        ${output}
    """

    stub:
    def prefix = task.ext.prefix ?: "${meta.id}_working"
    def output = anndata.name.endsWith('.zarr') ? "${prefix}.zarr" : "${prefix}.h5ad"
    """
    ${output.endsWith('.zarr') ? 'mkdir' : 'touch'} ${output}
    """
}
