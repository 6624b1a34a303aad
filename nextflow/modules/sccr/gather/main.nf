process SCCR_GATHER {
    tag "$meta.id"
    label 'process_low'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://depot.galaxyproject.org/singularity/sccr-node:0.1.0--py312h0000000_0' :
        'quay.io/biocontainers/sccr-node:0.1.0--py312h0000000_0' }"

    input:
    tuple val(meta), path(anndata, stageAs: 'input/*'), path(parts, stageAs: 'parts/*')

    output:
    tuple val(meta), path("*.{h5ad,zarr}")    , emit: anndata
    tuple val(meta), path("*.provenance.json"), emit: provenance
    tuple val("${task.process}"), val('sccr'), eval('sccr --version'), emit: versions_sccr, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def prefix = task.ext.prefix ?: "${meta.id}_imputed"
    def output = anndata.name.endsWith('.zarr') ? "${prefix}.zarr" : "${prefix}.h5ad"
    def memory_option = task.memory ? "--max-memory ${task.memory.toMega()}MiB" : ''
    """
    sccr gather \\
        ${args} \\
        --threads ${task.cpus} \\
        ${memory_option} \\
        --provenance ${prefix}.provenance.json \\
        ${anndata} \\
        ${output} \\
        ${parts}
    """

    stub:
    def prefix = task.ext.prefix ?: "${meta.id}_imputed"
    def output = anndata.name.endsWith('.zarr') ? "${prefix}.zarr" : "${prefix}.h5ad"
    """
    ${output.endsWith('.zarr') ? 'mkdir' : 'touch'} ${output}
    touch ${prefix}.provenance.json
    """
}
