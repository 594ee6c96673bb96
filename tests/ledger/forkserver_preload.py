"""Modules that the fork server imports once for all processes. The allocator is set before OpenCV is loaded."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))  # the tests' custom steps

import penstock.worker.process.preload  # isort: skip

import fault_injection
import faulty_repository

import penstock.cli.main
import penstock.coordinator.main
import penstock.coordinator.server
import penstock.worker.process.main
import penstock.worker.worker

__all__ = ["fault_injection", "faulty_repository", "penstock"]
