#!/bin/bash
# Written by make faces (tools/faces/batch.py), for 50,000 cells x 20,000 genes, 1,500 of them per cell.
# Submit it with: sbatch slurm.sh
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
# The folder with samples.csv, scratch/ and checkpoints/; and the image, as docs/containers.md builds it.
: "${SCCR_DATA:=$PWD}" "${SCCR_IMAGE:=$PWD/sccr-node.sif}"
# A step of srun's is sent SIGTERM; a batch script is not. exec, so that no shell stands between the two.
# Apptainer sets no limit to memory of its own: sccr is told Slurm's.
exec srun --kill-on-bad-exit=1 \
  apptainer exec --containall --no-home --bind "$SCCR_DATA:/data" --pwd /data \
  --env "SLURM_ARRAY_TASK_ID=$SLURM_ARRAY_TASK_ID" "$SCCR_IMAGE" \
  sccr batch --manifest /data/samples.csv --threads 4 --work-dir /data/scratch --checkpoint-dir /data/checkpoints --log-format json \
  ${SLURM_MEM_PER_NODE:+--max-memory "${SLURM_MEM_PER_NODE}MiB"}
