"""Where ``quicrpc call`` finds a method's types: the installed families, ``.proto`` files, or the server's reflection service."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from quicrpc.services.families import FAMILIES, load_family

__all__ = ["compiled", "find_method", "installed", "reflected"]


def find_method(pool: descriptor_pool.DescriptorPool, service: str, method: str) -> MethodDescriptor | None:
    """Return a method's descriptor, or None if the pool has no such service. Raises KeyError: the service has no such method."""
    try:
        descriptor = pool.FindServiceByName(service)
    except KeyError:
        return None
    found: MethodDescriptor = descriptor.methods_by_name[method]
    return found


def installed() -> descriptor_pool.DescriptorPool:
    """Return a pool with the services of every installed family and the standard health service."""
    for name in FAMILIES:
        load_family(name)
    pool: descriptor_pool.DescriptorPool = health_pb2.DESCRIPTOR.pool
    return pool


def compiled(sources: Sequence[Path], import_paths: Sequence[Path]) -> descriptor_pool.DescriptorPool:
    """Compile ``.proto`` files, or all of those in a directory.

    Raises: ModuleNotFoundError: grpcio-tools is not installed. ValueError: with protoc's messages. FileNotFoundError.
    """
    if find_spec("grpc_tools") is None:
        raise ModuleNotFoundError("grpcio-tools is not installed")
    roots, files = list(import_paths), []
    for source in sources:
        if not source.exists():
            raise FileNotFoundError(f"{source} does not exist")
        roots.append(source if source.is_dir() else source.parent)
        files += sorted(source.rglob("*.proto")) if source.is_dir() else [source]
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "descriptors")
        includes = [f"-I{root}" for root in (*roots, resources.files("grpc_tools") / "_proto")]
        command = [sys.executable, "-m", "grpc_tools.protoc", *includes, f"--descriptor_set_out={output}", "--include_imports"]
        done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(done.stderr.strip())
        return _pool(descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file)


async def reflected(channel: grpc.aio.Channel, service: str) -> descriptor_pool.DescriptorPool | None:
    """Ask the server for the files that define ``service``; None if it does not know the service or offers no reflection."""
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    wanted = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=service)]
    asked: set[str] = set()
    try:
        while wanted:
            await call.write(wanted.pop())
            response = await call.read()
            if response is grpc.aio.EOF or not response.HasField("file_descriptor_response"):
                return None
            for encoded in response.file_descriptor_response.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(encoded)
                files[file.name] = file
            missing = {name for file in files.values() for name in file.dependency} - files.keys() - asked
            asked |= missing
            wanted += [reflection_pb2.ServerReflectionRequest(file_by_filename=name) for name in sorted(missing)]
        await call.done_writing()
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return None
        raise
    finally:
        call.cancel()
    return _pool(files.values())


def _pool(files: Iterable[descriptor_pb2.FileDescriptorProto]) -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    waiting = {file.name: file for file in files}

    def add(name: str) -> None:
        file = waiting.pop(name, None)
        if file is not None:
            for dependency in file.dependency:
                add(dependency)
            pool.Add(file)

    while waiting:
        add(next(iter(waiting)))
    return pool
