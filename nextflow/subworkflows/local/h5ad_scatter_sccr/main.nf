include { SCCR_SPLIT                       } from '../../../modules/sccr/split'
include { SCCR_IMPUTE as SCCR_IMPUTE_BATCH } from '../../../modules/sccr/impute'
include { SCCR_GATHER                      } from '../../../modules/sccr/gather'

workflow H5AD_SCATTER_SCCR {
    take:
    ch_data // channel: [ meta, anndata, genes, config ]; meta.sccr_method, meta.batch_col, meta.counts_layer, meta.target_sum

    main:
    ch_split = ch_data
        .multiMap { meta, data, genes, _config ->
            input: [meta, data, genes]
            batch_key: meta.batch_col
        }
    SCCR_SPLIT(ch_split.input, ch_split.batch_key)

    // One task per batch. Genes and target depth were chosen over all cells, so every batch gets the same ones.
    ch_batches = SCCR_SPLIT.out.parts
        .join(SCCR_SPLIT.out.genes)
        .join(ch_data.map { meta, _data, _genes, config -> [meta, config] })
        .join(SCCR_SPLIT.out.target_sum, remainder: true)
        .flatMap { meta, parts, genes, config, target_sum ->
            def files = parts instanceof List ? parts : [parts]
            files.collect { part ->
                def own = [
                    id: "${meta.id}_${part.baseName}",
                    sccr_method: meta.sccr_method,
                    counts_layer: meta.counts_layer,
                    target_sum: target_sum ? target_sum.text.trim() : null,
                    whole: groupKey(meta, files.size())
                ]
                [own, part, genes, config]
            }
        }
    SCCR_IMPUTE_BATCH(ch_batches, false)

    ch_parts = SCCR_IMPUTE_BATCH.out.anndata
        .map { meta, part -> [meta.whole, part] }
        .groupTuple(sort: { first, second -> first.name <=> second.name })
        .map { key, parts -> [key.target, parts] }
    SCCR_GATHER(
        ch_data
            .map { meta, data, _genes, _config -> [meta, data] }
            .join(ch_parts)
    )

    // Assigned before they are emitted: the strict parser of Nextflow 25.04.0-25.04.2 loses what is assigned under emit.
    anndata = SCCR_GATHER.out.anndata
    provenance = SCCR_GATHER.out.provenance.mix(SCCR_IMPUTE_BATCH.out.provenance)

    emit:
    anndata    // channel: [ meta, anndata ]
    provenance // channel: [ meta, json ], for the whole sample and for every batch
}
