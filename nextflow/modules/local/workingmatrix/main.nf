process WORKINGMATRIX {
    tag "$meta.id"
    label 'process_single'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://depot.galaxyproject.org/singularity/sccr-node:0.1.0--py312h0000000_0' :
        'quay.io/biocontainers/sccr-node:0.1.0--py312h0000000_0' }"

    input:
    tuple val(meta), path(anndata, stageAs: 'input/*')
    val layer

    output:
    tuple val(meta), path("*_working.{h5ad,zarr}"), emit: anndata
    tuple val("${task.process}"), val('sccr'), eval('sccr --version'), emit: versions_sccr, topic: versions

    when:
    task.ext.when == null || task.ext.when

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
