"""trimtab.yaml -> Catalogue: the first stage of the flow. Reads one file; touches nothing else."""

from trimtab.catalogue.load import load_catalogue, parse_catalogue
from trimtab.catalogue.model import Budgets, Catalogue, Golden, Job, Service, Variant

__all__ = ["Budgets", "Catalogue", "Golden", "Job", "Service", "Variant", "load_catalogue", "parse_catalogue"]
