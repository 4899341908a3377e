"""Which rank a process is, by what each launcher puts into its environment."""

from __future__ import annotations

import pytest

from torchcheck.verify.places import Place, find

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_RESTART_COUNT": "0",
}
SRUN = {
    "SLURM_PROCID": "9",
    "SLURM_NTASKS": "16",
    "SLURM_STEP_NUM_TASKS": "16",
    "SLURM_STEP_ID": "0",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "8(x2)",
    "SLURM_STEP_NODELIST": "gpu[007-008],old3",
    "SLURM_JOB_ID": "4012345",
}
MPIRUN = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "1234",
}


@pytest.mark.parametrize(
    ("env", "place"),
    [
        (TORCHRUN, Place(3, 4, 1, 2, "node1", 29500, kept=True)),
        ({**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": "2"}, Place(3, 4, 1, 2, "node1", 29500, kept=True, attempt=2)),
        (SRUN, Place(9, 16, 1, 8, "gpu007", 22345, kept=False)),
        ({**SRUN, "SLURM_STEP_NODELIST": "login-a"}, Place(9, 16, 1, 8, "login-a", 22345, kept=False)),
        ({**SRUN, "MASTER_ADDR": "ib0.gpu007", "MASTER_PORT": "7"}, Place(9, 16, 1, 8, "ib0.gpu007", 7, kept=False)),
        (MPIRUN, Place(1, 2, 1, 2, "10.0.0.1", 1234, kept=False)),
    ],
)
def test_a_rank_knows_its_place(env, place):
    assert find(env) == place


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "2"},  # no address: set by hand, or left over
        {name: value for name, value in SRUN.items() if name != "SLURM_STEP_ID"},  # the batch script itself
        {**SRUN, "SLURM_STEP_ID": "batch"},
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1"},
        {**MPIRUN, "MASTER_PORT": ""},
    ],
)
def test_what_no_launcher_started_is_no_rank(env):
    assert find(env) is None
