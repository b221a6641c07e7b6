"""The methods: MATRIX, and the methods that it is compared with. Each one is a file.

`METHODS` holds them by name. Runs and exports know only `Method` and `Setup` (method.py). A method sees a `Caller`, and
no HTTP, record or file.
"""

from ..simulation.prompts import PROMPTS as SCENE
from ..simulation.types import Settings
from . import (
    best_of_n,
    context_distillation,
    critique_revise,
    debate,
    deliberate,
    foresee,
    guided,
    intention,
    mistake_analysis,
    outcome_preference,
    principles,
    rain,
    rlcd,
    role_answer,
    safe_prompt,
    self_refine,
    think_first,
)
from .matrix import matrix
from .method import Method, Setup, last
from .vanilla import NoSettings, vanilla

__all__ = ["METHODS", "Method", "Setup", "last"]

METHODS = {
    method.name: method
    for method in (
        Method("matrix", matrix, Settings, (SCENE,)),
        Method("vanilla", vanilla, NoSettings),
        Method("think_first", think_first.think_first, NoSettings, (think_first.PROMPTS,)),
        Method("safe_prompt", safe_prompt.safe_prompt, NoSettings, (safe_prompt.PROMPTS,)),
        Method("principles", principles.principles, principles.PrinciplesSettings, (principles.PROMPTS,)),
        Method("deliberate", deliberate.deliberate, NoSettings, (deliberate.PROMPTS,)),
        Method("intention", intention.intention, NoSettings, (intention.PROMPTS,)),
        Method("guided", guided.guided, NoSettings, (guided.PROMPTS,)),
        Method("foresee", foresee.foresee, foresee.ForeseeSettings, (foresee.PROMPTS, SCENE)),
        Method("self_refine", self_refine.self_refine, self_refine.SelfRefineSettings, (self_refine.PROMPTS,)),
        Method(
            "critique_revise",
            critique_revise.critique_revise,
            critique_revise.CritiqueReviseSettings,
            (critique_revise.PROMPTS,),
        ),
        Method("best_of_n", best_of_n.best_of_n, best_of_n.BestOfNSettings, (best_of_n.PROMPTS,)),
        Method("debate", debate.debate, debate.DebateSettings, (debate.PROMPTS,)),
        Method("role_answer", role_answer.role_answer, role_answer.RoleAnswerSettings, (role_answer.PROMPTS,)),
        Method("rain", rain.rain, rain.RainSettings, (rain.PROMPTS,)),
        Method(
            "context_distillation",
            context_distillation.context_distillation,
            principles.PrinciplesSettings,
            (context_distillation.PROMPTS,),
        ),
        Method("rlcd", rlcd.rlcd, NoSettings, (rlcd.PROMPTS,)),
        Method("mistake_analysis", mistake_analysis.mistake_analysis, NoSettings, (mistake_analysis.PROMPTS,)),
        Method(
            "outcome_preference",
            outcome_preference.outcome_preference,
            outcome_preference.OutcomePreferenceSettings,
            (outcome_preference.PROMPTS,),
        ),
    )
}
