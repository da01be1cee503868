"""The verifier of evidence bundles: trusts nobody, needs nobody (trail-format section 10).

Imports of the service only the pure files of the trail (record, merkle, note, entry), so that a regulator
can read it whole and run it alone.
"""

from service.trail.verify.run import main, verify_bundle
from service.trail.verify.trust import Policy, State
from service.trail.verify.verdict import Facts, Fault, Verdict

__all__ = ["Facts", "Fault", "Policy", "State", "Verdict", "main", "verify_bundle"]
