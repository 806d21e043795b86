# What differs between clusters: edit this file, or a copy that ALD_SITE names. Every job reads it.
# shellcheck shell=sh disable=SC2034

# The program, which needs no Python and no network: where it isn't named, the one that was built here,
# or that was installed with these scripts.
# ALIGNDISTIL="/opt/aligndistil/bin/aligndistil"
# What comes before it on the nodes, for instance: CONTAINER="apptainer exec $HOME/aligndistil.sif"
CONTAINER=""

# How a job starts its ranks: "auto" takes "srun --mpi=pmix" (pmi2 for MPICH and its kin) where
# Slurm has it, else "mpirun"; the log says which. Or the command itself.
LAUNCH="auto"

# Options of every sbatch call: time limit; account, partition, quality of service, ...
SBATCH_OPTIONS="--time=24:00:00"
# SBATCH_OPTIONS="--time=24:00:00 --account=NAME --partition=NAME"

# Size of each job: nodes, ranks a node, cores a rank; options of its own, as --time or --mem.
# `aligndistil plan --sbatch` proposes them: jobs/submit.sh --plan, with the nodes that it may use. Where
# the login node is of their kind, a --calibrate behind them measures for half a minute.
PLAN_NODE="--nodes 4 --cores 16 --memory 64GB"
SFT_SIZE="--nodes=2 --ntasks-per-node=1 --cpus-per-task=16"
DPO_SIZE="--nodes=2 --ntasks-per-node=1 --cpus-per-task=16"
SCORE_SIZE="--nodes=1 --ntasks-per-node=1 --cpus-per-task=16"
SCORE_TASKS=4                  # of the array; or its form: SCORE_ARRAY="0-15%4"
DISTILL_SIZE="--nodes=2 --ntasks-per-node=2 --cpus-per-task=8"
EVAL_SIZE="--nodes=1 --ntasks-per-node=1 --cpus-per-task=16"

# Off-policy distillation trains on the shards of score, with every rank a trainer. On-policy:
# DISTILL_ROLES="distill.mode=on-policy shards.directory=rounds
#     roles.trainers=2 roles.scorers=1 roles.generators=1"
DISTILL_ROLES=""
# Roles on unlike nodes, as one heterogeneous job (in place of DISTILL_SIZE and roles.*):
# TRAINER_SIZE="--nodes=2 --ntasks-per-node=1 --cpus-per-task=32 --mem=200G"
# SCORER_SIZE="--nodes=1 --ntasks-per-node=2 --cpus-per-task=16"
# GENERATOR_SIZE="--nodes=8 --ntasks-per-node=1 --cpus-per-task=16"

# At the end of its time a stage keeps what it has, by itself; this signal, so many seconds before,
# is the second belt. USR1 where USR2 is the site's own.
SIGNAL="USR2"
SIGNAL_SECONDS=180
# Going on after that: by requeue of the job itself; where jobs have no scontrol, as in many containers,
# or were killed, by FOLLOW_UPS jobs that wait behind each stage and go away when it is done.
REQUEUE="yes"                  # "no": a stage that isn't finished ends the chain
FOLLOW_UPS=2
MAX_RESTARTS=20                # of a stage; preemptions and nodes that Slurm finds dead don't count

# Modules and environment:
# module load openmpi hdf5 openblas
# . /opt/spack/share/spack/setup-env.sh && spack load aligndistil
# Files of Open MPI belong on a disk of the node, not into a shared TMPDIR:
# export OMPI_MCA_orte_tmpdir_base=/tmp
# What is to be done in each job before its ranks start, for instance models to a disk of each node:
# export ALD_BEFORE='srun --ntasks=$SLURM_NNODES --ntasks-per-node=1 cp -ru /project/models /local/'
# Seconds until a node sees for sure what another one has written (of NFS: acdirmax, and some):
# SEEN_SECONDS=35
export OMP_WAIT_POLICY=passive
