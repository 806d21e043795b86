# What differs between clusters: edit this file, nothing else. Every job reads it.

# The program; it needs no Python and no network.
ALIGNDISTIL=${ALIGNDISTIL:-$ALD_ROOT/build/release/aligndistil}

# How a job starts its ranks: "srun --mpi=pmix", or "mpirun" where Slurm lacks PMIx.
LAUNCH="srun --mpi=pmix"

# Options of every sbatch call: account, partition, time limit.
SBATCH_OPTIONS="--time=24:00:00"

# Size of each job: nodes, ranks a node and cores a rank.
SFT_SIZE="--nodes=2 --ntasks-per-node=1 --cpus-per-task=16"
DPO_SIZE="--nodes=2 --ntasks-per-node=1 --cpus-per-task=16"
SCORE_SIZE="--nodes=1 --ntasks-per-node=1 --cpus-per-task=16"
SCORE_TASKS=4
DISTILL_SIZE="--nodes=2 --ntasks-per-node=2 --cpus-per-task=8"
# Off-policy distillation trains on the shards of score, with every rank a trainer. On-policy:
# DISTILL_ROLES="distill.mode=on-policy shards.directory=rounds
#     roles.trainers=2 roles.scorers=1 roles.generators=1"
DISTILL_ROLES=""
EVAL_SIZE="--nodes=1 --ntasks-per-node=1 --cpus-per-task=16"

# Modules and environment, for instance: module load openmpi hdf5 openblas
export OMP_WAIT_POLICY=passive
