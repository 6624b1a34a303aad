// Fetches a sample by sccr itself, with credentials from the environment: no plugin of Nextflow is needed (--fetch).
process FETCH {
    tag "$meta.id"
    label 'process_single'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://github.com/sccr-node/sccr-node/releases/download/v0.1.0/sccr-node-0.1.0.sif' :
        'ghcr.io/sccr-node/sccr-node:0.1.0' }"

    input:
    tuple val(meta), val(address), val(name)

    output:
    tuple val(meta), path("fetched/*"), emit: anndata
    tuple val("${task.process}"), val('sccr'), eval('sccr --version'), emit: versions_sccr, topic: versions

    script:
    """
    mkdir fetched
    sccr copy --work-dir . '${address}' 'fetched/${name}'
    """

    stub:
    """
    mkdir fetched
    ${name.endsWith('.zarr') ? 'mkdir' : 'touch'} 'fetched/${name}'
    """
}
