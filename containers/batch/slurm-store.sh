#!/bin/bash
# Written by make faces (tools/faces/batch.py), for 50,000 cells x 20,000 genes, 1,500 of them per cell.
# Submit it with: sbatch slurm-store.sh
#
#SBATCH --job-name=sccr
#SBATCH --array=0-3
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=01:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=sccr-%A_%a.log
set -euo pipefail
# A folder for temporary files on the node's own disk; and the image, as docs/containers.md builds it.
: "${SCCR_SCRATCH:=/tmp}" "${SCCR_IMAGE:=$PWD/sccr-node.sif}"
# How the store is reached: of the environment, Apptainer passes on what is named so. (What follows --env, all can see.)
for name in "${!AWS_@}" "${!GOOGLE_@}" "${!AZURE_@}"; do export "APPTAINERENV_$name=${!name}"; done
# A step of srun's is sent SIGTERM; a batch script is not. exec, so that no shell stands between the two.
# Apptainer sets no limit to memory of its own: sccr is told Slurm's.
exec srun --kill-on-bad-exit=1 \
  apptainer exec --containall --no-home --bind "$SCCR_SCRATCH:/scratch" --pwd /scratch \
  --env "SLURM_ARRAY_TASK_ID=$SLURM_ARRAY_TASK_ID" "$SCCR_IMAGE" \
  sccr batch --manifest s3://BUCKET/FOLDER/samples.csv --threads 4 --work-dir /scratch --checkpoint-dir s3://BUCKET/FOLDER/checkpoints --log-format json \
  ${SLURM_MEM_PER_NODE:+--max-memory "${SLURM_MEM_PER_NODE}MiB"}
