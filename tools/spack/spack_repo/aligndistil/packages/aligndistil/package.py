"""The recipe of aligndistil for Spack 1.0 and later. It builds a checkout, from whose root:

    spack repo add tools/spack/spack_repo/aligndistil
    spack dev-build aligndistil@0.1.0
    spack test run aligndistil
"""
import json

from spack_repo.builtin.build_systems.cmake import CMakePackage

from spack.package import *


class Aligndistil(CMakePackage):
    """Aligns language models with human preferences by token-level distillation: a distributed MPI
    batch pipeline for CPU clusters."""

    homepage = "https://arxiv.org/abs/2503.02832"

    license("Apache-2.0")

    version("0.1.0")

    variant("tests", default=False, description="Build the tests in C")
    variant("tools", default=False, description="With what the tools in Python need")

    depends_on("c", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi")
    depends_on("hdf5@1.10: ~mpi")
    depends_on("openblas threads=openmp")
    depends_on("openssl")
    depends_on("jansson")
    depends_on("libconfig")
    depends_on("pcre2")
    depends_on("utf8proc")
    depends_on("zlib-api")
    depends_on("cmocka", type=("build", "link"), when="+tests")
    with when("+tools"):
        depends_on("python@3.9:", type="run")
        depends_on("py-numpy", type="run")
        depends_on("py-h5py", type="run")
        depends_on("py-matplotlib", type="run")
        depends_on("py-jinja2", type="run")

    def cmake_args(self):
        return [self.define_from_variant("ALD_TESTS", "tests")]

    def test_version(self):
        """the program starts and has this version"""
        program = Executable(self.prefix.bin.aligndistil)
        out = program("--version", output=str.split, error=str.split)
        assert str(self.spec.version) in out, out

    def test_model(self):
        """a forward pass of a small model with random weights"""
        with open("config.json", "w") as file:
            json.dump({
                "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_act": "silu",
                "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512,
                "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
                "tie_word_embeddings": True}, file)
        program = Executable(self.prefix.bin.aligndistil)
        out = program("bench", "--config", "config.json", "--tokens", "16", "--only", "forward",
                      "--threads", "1", "--repeat", "1", "--json", output=str.split, error=str.split)
        assert '"forward"' in out, out
