#!/usr/bin/env nextflow
// SCCR_IMPUTE inside a pipeline with scanpy: quality control -> imputation -> neighbours, Leiden and UMAP on X_sccr.

include { SCCR_IMPUTE } from '../../modules/sccr/impute'

process QUALITY_CONTROL {
    tag "$meta.id"
    label 'process_low'

    container 'ghcr.io/sccr-node/sccr-node:0.1.0'

    input:
    tuple val(meta), path(counts)

    output:
    tuple val(meta), path("${meta.id}_qc.h5ad")

    script:
    """
    #!/usr/bin/env python3
    import scanpy

    data = scanpy.read_h5ad("${counts}")
    scanpy.pp.filter_cells(data, min_genes=20)
    scanpy.pp.filter_genes(data, min_cells=3)
    data.write_h5ad("${meta.id}_qc.h5ad")
    """
}

process CLUSTERING {
    tag "$meta.id"
    label 'process_low'

    container 'ghcr.io/sccr-node/sccr-node:0.1.0'

    input:
    tuple val(meta), path(imputed)

    output:
    tuple val(meta), path("${meta.id}_clustered.h5ad"), emit: anndata
    tuple val(meta), path("${meta.id}_clusters.csv")  , emit: clusters

    script:
    """
    #!/usr/bin/env python3
    import scanpy

    data = scanpy.read_h5ad("${imputed}")
    # X_sccr is the PCA of the imputed genes: no further normalisation or PCA is needed.
    scanpy.pp.neighbors(data, use_rep="X_sccr")
    scanpy.tl.leiden(data, flavor="igraph", n_iterations=2)
    scanpy.tl.umap(data)
    data.write_h5ad("${meta.id}_clustered.h5ad")
    data.obs["leiden"].to_csv("${meta.id}_clusters.csv")
    """
}

workflow {
    ch_counts = channel
        .fromPath(params.input, checkIfExists: true)
        .map { counts -> [[id: counts.baseName], counts] }

    QUALITY_CONTROL(ch_counts)

    SCCR_IMPUTE(
        QUALITY_CONTROL.out.map { meta, counts -> [meta, counts, [], []] }, // the genes with the highest variance; no config
        false // no report
    )

    CLUSTERING(SCCR_IMPUTE.out.anndata)
}
