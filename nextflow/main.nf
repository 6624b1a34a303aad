#!/usr/bin/env nextflow
// scCR imputation per sample: samplesheet -> impute (whole, or scattered over batches) -> benchmark, reports, results.

include { H5AD_IMPUTE_SCCR } from './subworkflows/local/h5ad_impute_sccr'
include { FETCH            } from './modules/local/fetch'
include { SCCR_BENCHMARK   } from './modules/sccr/benchmark'
include { MULTIQC          } from './modules/local/multiqc'
include {
    combinationProblems ;
    fetchedName ;
    handoverProblem ;
    helpText ;
    named ;
    parameterProblems ;
    parameterWarnings ;
    readSamplesheet ;
    tellFailures ;
    versionText
} from './subworkflows/local/validation'
include { summarySection   } from './subworkflows/local/summary'

def isTrue(value) {
    return "${value}" == 'true'
}

/** Return the lines of software_versions.yml for a tool that a process used. */
def versionEntry(process, tool, version) {
    return "${process.tokenize(':').last()}:\n    ${tool}: ${version}\n".toString()
}

workflow {
    main:
    if (isTrue(params.help) || isTrue(params.version)) {
        println(isTrue(params.help) ? helpText() : versionText())
        System.exit(0)
    }
    parameterWarnings(params).each { warning -> log.warn(warning) }
    def problems = parameterProblems(params)
    def genes_file = params.genes && !(params.genes in ['top-variance', 'highly-variable', 'all']) ? named(params.genes) : null
    if (genes_file) {
        def problem = genes_file.exists() ? handoverProblem(genes_file) : 'not top-variance, highly-variable, all, or an existing file'
        problems += problem ? ["--genes ${params.genes}: ${problem}"] : []
    }
    def defaults = [
        batch_col: params.batch_key,
        counts_layer: params.layer,
        target_sum: params.target_sum
    ].findAll { _name, value -> value != null }
    def (samples, sheet_problems) = readSamplesheet(params.input, defaults, isTrue(params.fetch))
    problems += sheet_problems
    if (!problems) {
        problems = combinationProblems(params, samples, isTrue(params.scatter))
    }
    if (problems) {
        error(problems.join('\n'))
    }

    // What sccr is to fetch is an address as text.
    def (remote, near) = samples.split { _meta, data -> data instanceof CharSequence }
    FETCH(channel.fromList(remote.collect { meta, address -> [meta, address, fetchedName(meta, address)] }))
    ch_samples = channel.fromList(near).mix(FETCH.out.anndata)

    H5AD_IMPUTE_SCCR(
        ch_samples,
        params.imputation,
        isTrue(params.imputed_integration),
        genes_file ?: [],
        isTrue(params.tune),
        isTrue(params.scatter),
        isTrue(params.report)
    )

    if (isTrue(params.benchmark)) {
        SCCR_BENCHMARK(ch_samples)
    }

    ch_versions = channel.topic('versions')
        .map { process, tool, version -> versionEntry(process, tool, version) }
        .unique()
        .mix(channel.of("Workflow:\n    ${workflow.manifest.name}: ${workflow.manifest.version}\n    Nextflow: ${workflow.nextflow.version}\n".toString()))
    ch_versions_of_multiqc = channel.empty()

    if (isTrue(params.multiqc)) {
        ch_multiqc = H5AD_IMPUTE_SCCR.out.multiqc
            .map { _meta, content -> content }
            .mix(ch_versions.collectFile(name: 'software_mqc_versions.yml', sort: true))
            .mix(channel.of(summarySection(params)).collectFile(name: 'workflow_summary_mqc.yaml'))
            .toSortedList { one, other -> one.name <=> other.name }
            .map { content -> [[id: 'multiqc'], content, named("${projectDir}/assets/multiqc_config.yml"), [], [], []] }
        MULTIQC(ch_multiqc)
        ch_versions_of_multiqc = MULTIQC.out.versions
            .map { process, tool, version -> versionEntry(process, tool, version) }
    }

    ch_versions
        .mix(ch_versions_of_multiqc)
        .collectFile(name: 'software_versions.yml', sort: true, storeDir: "${params.outdir}/pipeline_info")

    def trace = named("${params.outdir}/pipeline_info/execution_trace_${params.trace_report_suffix}.txt")
    workflow.onComplete {
        tellFailures(trace)
    }
}
