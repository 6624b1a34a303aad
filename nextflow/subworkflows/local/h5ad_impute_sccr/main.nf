include { SCCR_TUNE         } from '../../../modules/sccr/tune'
include { SCCR_IMPUTE       } from '../../../modules/sccr/impute'
include { SCCR_PROMOTE      } from '../../../modules/sccr/promote'
include { H5AD_SCATTER_SCCR } from '../h5ad_scatter_sccr'

// A sample names its method, or says true or false, as samplesheets do that leave the method to a parameter.
def chosenMethod(meta, imputation) {
    return meta.imputation in [null, '', true] ? imputation : meta.imputation ?: 'none'
}

def becomesWorkingMatrix(meta, imputed_integration) {
    return meta.imputed_integration != null ? meta.imputed_integration : imputed_integration
}

// Callers join by meta: they get it back as they gave it.
def withoutMethod(ch_results) {
    return ch_results.map { meta, result -> [meta.findAll { key, _value -> key != 'sccr_method' }, result] }
}

// A configuration that does not hand the method on would have samples imputed by the default one, unnoticed.
def withMethodChecked(ch_records) {
    return ch_records.map { meta, record ->
        def used = record.size() ? new groovy.json.JsonSlurper().parse(record).method : meta.sccr_method // a stub's is empty
        if (used != meta.sccr_method) {
            error("${meta.id} was to be imputed by ${meta.sccr_method}, but was by ${used}: add --method \${meta.sccr_method} to the ext.args of SCCR_IMPUTE and SCCR_IMPUTE_BATCH")
        }
        return [meta, record]
    }
}

workflow H5AD_IMPUTE_SCCR {
    take:
    ch_data             // channel: [ meta, anndata ], each sample after quality control
    imputation          //   value: string, none|sccr|scfp|scbfp; meta.imputation (one of these, or a boolean) has precedence
    imputed_integration //   value: boolean; meta.imputed_integration has precedence
    genes               //   value: file with the genes to impute, or []
    tune                //   value: boolean, whether to tune scCR's parameters for every sample first
    scatter             //   value: boolean, one task per batch for samples with a meta.batch_col
    with_report         //   value: boolean, whether to write reports and MultiQC content (not for scattered samples)

    main:
    ch_wanted = ch_data
        .branch { meta, _data ->
            none: chosenMethod(meta, imputation) == 'none'
            tune: tune && chosenMethod(meta, imputation) == 'sccr'
            as_given: true
        }

    // One set of parameters for all batches of a sample, whether they are imputed in one task or in several.
    SCCR_TUNE(ch_wanted.tune.map { meta, data -> [meta, data, genes] })

    // What differs between samples reaches the commands by ext.args, from meta (conf/parameters.config): the method too.
    ch_samples = ch_wanted.tune
        .join(SCCR_TUNE.out.config)
        .mix(ch_wanted.as_given.map { meta, data -> [meta, data, []] })
        .map { meta, data, config -> [meta + [sccr_method: chosenMethod(meta, imputation)], data, genes, config] }
        .branch { meta, _data, _genes, _config ->
            scatter: scatter && meta.batch_col
            whole: true
        }

    SCCR_IMPUTE(ch_samples.whole, with_report)

    H5AD_SCATTER_SCCR(ch_samples.scatter)

    imputed = withoutMethod(SCCR_IMPUTE.out.anndata.mix(H5AD_SCATTER_SCCR.out.anndata))

    ch_working = imputed
        .branch { meta, _data ->
            changed: becomesWorkingMatrix(meta, imputed_integration)
            unchanged: true
        }
    SCCR_PROMOTE(ch_working.changed)

    // Assigned before they are emitted: the strict parser of Nextflow 25.04.0-25.04.2 loses what is assigned under emit.
    anndata = ch_wanted.none.mix(ch_working.unchanged, SCCR_PROMOTE.out.anndata)
    provenance = withoutMethod(withMethodChecked(SCCR_IMPUTE.out.provenance.mix(H5AD_SCATTER_SCCR.out.provenance)))
    report = withoutMethod(SCCR_IMPUTE.out.report)
    tuned = SCCR_TUNE.out.config
    multiqc = withoutMethod(SCCR_IMPUTE.out.multiqc)

    emit:
    anndata    // channel: [ meta, anndata ], every sample
    imputed    // channel: [ meta, anndata ], the imputed samples as sccr wrote them
    provenance // channel: [ meta, json ]
    report     // channel: [ meta, html ]
    tuned      // channel: [ meta, yaml ], the parameters of the tuned samples
    multiqc    // channel: [ meta, folder ]
}
