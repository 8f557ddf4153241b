"""A server on loopback that speaks Modal's protocol, from the wheel's own definitions, with faults to order."""

from captionacc_dagster_tests.compute.modal_server.faults import Fault, Outcome
from captionacc_dagster_tests.compute.modal_server.server import ModalServer

__all__ = ["Fault", "ModalServer", "Outcome"]
