include { SCCR_TUNE          } from '../../../modules/sccr/tune'
include { SCCR_IMPUTE        } from '../../../modules/sccr/impute'
include { WORKINGMATRIX      } from '../../../modules/local/workingmatrix'
include { SCATTER_IMPUTATION } from '../scatter_imputation'

def chosen_method(meta, imputation) {
    return meta.imputation ?: imputation
}

def becomes_working_matrix(meta, imputed_integration) {
    return meta.imputed_integration != null ? meta.imputed_integration : imputed_integration
}

workflow IMPUTATION {
    take:
    ch_data             // channel: [ meta, anndata ], each sample after quality control
    imputation          //   value: string, none|sccr|scfp|scbfp; meta.imputation has precedence
    imputed_integration //   value: boolean; meta.imputed_integration has precedence
    key_added           //   value: string, the name of the imputed layer (the command's --key-added)
    genes               //   value: file with the genes to impute, or []
    tune                //   value: boolean, whether to tune scCR's parameters for every sample first
    scatter             //   value: boolean, one task per batch for samples with a meta.batch_key
    with_report         //   value: boolean, whether to write reports and MultiQC content (not for scattered samples)

    main:
    ch_wanted = ch_data
        .branch { meta, _data ->
            none: chosen_method(meta, imputation) == 'none'
            tune: tune && chosen_method(meta, imputation) == 'sccr'
            as_given: true
        }

    // One set of parameters for all batches of a sample, whether they are imputed in one task or in several.
    ch_tune = ch_wanted.tune
        .multiMap { meta, data ->
            input: [meta, data, genes]
            input_layer: meta.counts_layer ?: ''
            batch_key: meta.batch_key ?: ''
            target_sum: meta.target_sum ?: ''
        }
    SCCR_TUNE(
        ch_tune.input,
        ch_tune.input_layer,
        ch_tune.batch_key,
        ch_tune.target_sum
    )

    ch_samples = ch_wanted.tune
        .join(SCCR_TUNE.out.config)
        .mix(ch_wanted.as_given.map { meta, data -> [meta, data, []] })
        .branch { meta, data, config ->
            scatter: scatter && meta.batch_key
                return [meta + [method: chosen_method(meta, imputation)], data, genes, config]
            whole: true
                return [meta, data, genes, config]
        }

    ch_whole = ch_samples.whole
        .multiMap { meta, data, gene_list, config ->
            input: [meta, data, gene_list, config]
            method: chosen_method(meta, imputation)
            input_layer: meta.counts_layer ?: ''
            batch_key: meta.batch_key ?: ''
            target_sum: meta.target_sum ?: ''
        }
    SCCR_IMPUTE(
        ch_whole.input,
        ch_whole.method,
        ch_whole.input_layer,
        ch_whole.batch_key,
        ch_whole.target_sum,
        with_report
    )

    SCATTER_IMPUTATION(ch_samples.scatter)

    imputed = SCCR_IMPUTE.out.anndata
        .mix(SCATTER_IMPUTATION.out.anndata.map { meta, data -> [meta.findAll { key, _value -> key != 'method' }, data] })

    ch_working = imputed
        .branch { meta, _data ->
            changed: becomes_working_matrix(meta, imputed_integration)
            unchanged: true
        }
    WORKINGMATRIX(ch_working.changed, key_added)

    // Assigned before they are emitted: the strict parser of Nextflow 25.04.0-25.04.2 loses what is assigned under emit.
    anndata = ch_wanted.none.mix(ch_working.unchanged, WORKINGMATRIX.out.anndata)
    provenance = SCCR_IMPUTE.out.provenance.mix(SCATTER_IMPUTATION.out.provenance)
    report = SCCR_IMPUTE.out.report
    tuned = SCCR_TUNE.out.config
    multiqc = SCCR_IMPUTE.out.multiqc

    emit:
    anndata    // channel: [ meta, anndata ], every sample
    imputed    // channel: [ meta, anndata ], the imputed samples as sccr wrote them
    provenance // channel: [ meta, json ]
    report     // channel: [ meta, html ]
    tuned      // channel: [ meta, yaml ], the parameters of the tuned samples
    multiqc    // channel: [ meta, folder ]
}
