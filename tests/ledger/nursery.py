"""What the process that all others are forked from has imported. The allocator is set before OpenCV is loaded."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))  # the tests' own steps are found here

import penstock.worker.process.preload  # isort: skip

import faulty
import faulty_repository

import penstock.cli.main
import penstock.coordinator.main
import penstock.coordinator.server
import penstock.worker.build
import penstock.worker.process.main

__all__ = ["faulty", "faulty_repository", "penstock"]
