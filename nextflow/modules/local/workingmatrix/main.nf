process WORKINGMATRIX {
    tag "$meta.id"
    label 'process_single'

    conda "${moduleDir}/../../sccr/impute/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://github.com/sccr-node/sccr-node/releases/download/v0.1.0/sccr-node-0.1.0.sif' :
        'ghcr.io/sccr-node/sccr-node:0.1.0' }"

    input:
    tuple val(meta), path(anndata, stageAs: 'input/*')
    val layer

    output:
    tuple val(meta), path("*_working.{h5ad,zarr}"), emit: anndata

    script:
    def output = anndata.name.endsWith('.zarr') ? "${meta.id}_working.zarr" : "${meta.id}_working.h5ad"
    """
    sccr promote --layer '${layer}' ${anndata} ${output}
    """

    stub:
    def output = anndata.name.endsWith('.zarr') ? "${meta.id}_working.zarr" : "${meta.id}_working.h5ad"
    """
    ${output.endsWith('.zarr') ? 'mkdir' : 'touch'} ${output}
    """
}
