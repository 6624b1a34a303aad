#!/usr/bin/env nextflow
// scCR imputation per sample: samplesheet -> impute (whole, or scattered over batches) -> benchmark, reports, results.

include { IMPUTATION     } from './subworkflows/local/imputation'
include { FETCH          } from './modules/local/fetch'
include { SCCR_BENCHMARK } from './modules/sccr/benchmark'
include { MULTIQC        } from './modules/local/multiqc'
include {
    combination_problems ;
    fetched_name ;
    handover_problem ;
    help_text ;
    named ;
    parameter_problems ;
    parameter_warnings ;
    read_samplesheet ;
    tell_failures ;
    version_text
} from './subworkflows/local/validation'

def is_true(value) {
    return "${value}" == 'true'
}

workflow {
    main:
    if (is_true(params.help) || is_true(params.version)) {
        println(is_true(params.help) ? help_text() : version_text())
        System.exit(0)
    }
    parameter_warnings(params).each { warning -> log.warn(warning) }
    def problems = parameter_problems(params)
    def genes_file = params.genes && !(params.genes in ['top-variance', 'highly-variable', 'all']) ? named(params.genes) : null
    if (genes_file) {
        def problem = genes_file.exists() ? handover_problem(genes_file) : 'not top-variance, highly-variable, all, or an existing file'
        problems += problem ? ["--genes ${params.genes}: ${problem}"] : []
    }
    def defaults = [
        batch_key: params.batch_key,
        counts_layer: params.layer,
        target_sum: params.target_sum
    ].findAll { _name, value -> value != null }
    def (samples, sheet_problems) = read_samplesheet(params.input, defaults, is_true(params.fetch))
    problems += sheet_problems
    if (!problems) {
        problems = combination_problems(params, samples, is_true(params.scatter))
    }
    if (problems) {
        error(problems.join('\n'))
    }

    // What sccr is to fetch is an address as text.
    def (remote, near) = samples.split { _meta, data -> data instanceof CharSequence }
    FETCH(channel.fromList(remote.collect { meta, address -> [meta, address, fetched_name(meta, address)] }))
    ch_samples = channel.fromList(near).mix(FETCH.out.anndata)

    IMPUTATION(
        ch_samples,
        params.imputation,
        is_true(params.imputed_integration),
        params.key_added ?: 'sccr',
        genes_file ?: [],
        is_true(params.tune),
        is_true(params.scatter),
        is_true(params.report)
    )

    if (is_true(params.benchmark)) {
        ch_benchmark = ch_samples
            .multiMap { meta, data ->
                input: [meta, data]
                input_layer: meta.counts_layer ?: ''
                label_key: params.label_key ?: ''
            }
        SCCR_BENCHMARK(ch_benchmark.input, ch_benchmark.input_layer, ch_benchmark.label_key)
    }

    channel.topic('versions')
        .map { process, tool, version -> [process.tokenize(':').last(), tool, version] }
        .unique()
        .map { process, tool, version -> "${process}:\n    ${tool}: ${version}\n".toString() }
        .mix(channel.of("Workflow:\n    ${workflow.manifest.name}: ${workflow.manifest.version}\n    Nextflow: ${workflow.nextflow.version}\n".toString()))
        .collectFile(name: 'software_versions.yml', sort: true, storeDir: "${params.outdir}/pipeline_info")

    if (is_true(params.multiqc)) {
        MULTIQC(
            IMPUTATION.out.multiqc.map { _meta, content -> content }.collect(),
            named("${projectDir}/assets/multiqc_config.yml")
        )
    }

    def trace = named("${params.outdir}/pipeline_info/execution_trace_${params.trace_report_suffix}.txt")
    workflow.onComplete {
        tell_failures(trace)
    }
}
