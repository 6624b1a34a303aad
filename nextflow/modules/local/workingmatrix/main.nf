process WORKINGMATRIX {
    tag "$meta.id"
    label 'process_single'

    conda "${moduleDir}/../../sccr/impute/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://github.com/sccr-node/sccr-node/releases/download/v0.1.0/sccr-node-0.1.0.sif' :
        'ghcr.io/sccr-node/sccr-node:0.1.0' }"

    input:
    tuple val(meta), path(anndata)
    val layer

    output:
    tuple val(meta), path("${output}"), emit: anndata

    when:
    task.ext.when == null || task.ext.when

    script:
    prefix = task.ext.prefix ?: "${meta.id}_working"
    output = anndata.name.endsWith('.zarr') ? "${prefix}.zarr" : "${prefix}.h5ad"
    template('workingmatrix.py')

    stub:
    prefix = task.ext.prefix ?: "${meta.id}_working"
    output = anndata.name.endsWith('.zarr') ? "${prefix}.zarr" : "${prefix}.h5ad"
    """
    ${output.endsWith('.zarr') ? 'mkdir' : 'touch'} ${output}
    """
}
