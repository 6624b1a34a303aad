process SCCR_BENCHMARK {
    tag "$meta.id"
    label 'process_high'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://depot.galaxyproject.org/singularity/sccr-node:0.1.0--py312h0000000_0' :
        'quay.io/biocontainers/sccr-node:0.1.0--py312h0000000_0' }"

    input:
    tuple val(meta), path(anndata, stageAs: 'input/*')

    output:
    tuple val(meta), path("*.tsv") , emit: tsv
    tuple val(meta), path("*.json"), emit: json
    tuple val("${task.process}"), val('sccr'), eval('sccr --version'), emit: versions_sccr, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def prefix = task.ext.prefix ?: "${meta.id}_benchmark"
    """
    export MPLCONFIGDIR=./tmp/mpl

    sccr benchmark \\
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
