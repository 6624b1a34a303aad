process SCCR_IMPUTE {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://depot.galaxyproject.org/singularity/sccr-node:0.1.0--py312h0000000_0' :
        'quay.io/biocontainers/sccr-node:0.1.0--py312h0000000_0' }"

    input:
    tuple val(meta), path(anndata, stageAs: 'input/*'), path(genes, stageAs: 'genes/*'), path(config, stageAs: 'config/*')
    val with_report

    output:
    tuple val(meta), path("*.{h5ad,zarr}")    , emit: anndata
    tuple val(meta), path("*.provenance.json"), emit: provenance
    tuple val(meta), path("*.html")           , emit: report , optional: true
    tuple val(meta), path("*_multiqc")        , emit: multiqc, optional: true
    tuple val("${task.process}"), val('sccr'), eval('sccr --version'), emit: versions_sccr, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def prefix = task.ext.prefix ?: "${meta.id}_imputed"
    def output = anndata.name.endsWith('.zarr') ? "${prefix}.zarr" : "${prefix}.h5ad"
    def genes_option  = genes ? "--genes ${genes}" : ''
    def config_option = config ? "--config ${config}" : ''
    def report_option = with_report ? "--report ${prefix}.html --multiqc ${prefix}_multiqc" : ''
    def memory_option = task.memory ? "--max-memory ${task.memory.toMega()}MiB" : ''
    """
    export MPLCONFIGDIR=./tmp/mpl

    sccr impute \\
        ${config_option} \\
        ${genes_option} \\
        ${args} \\
        --threads ${task.cpus} \\
        ${memory_option} \\
        --provenance ${prefix}.provenance.json \\
        ${report_option} \\
        ${anndata} \\
        ${output}
    """

    stub:
    def prefix = task.ext.prefix ?: "${meta.id}_imputed"
    def output = anndata.name.endsWith('.zarr') ? "${prefix}.zarr" : "${prefix}.h5ad"
    """
    ${output.endsWith('.zarr') ? 'mkdir' : 'touch'} ${output}
    touch ${prefix}.provenance.json
    ${with_report ? "touch ${prefix}.html && mkdir ${prefix}_multiqc && touch ${prefix}_multiqc/sccr_mqc.json" : ''}
    """
}
