"""How English says that it will not help, that something is wrong, and that help follows. Patterns, for lower case.

Each looks at one sentence. `rule` decides what they mean together.
"""

from __future__ import annotations

import re


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


# What an assistant does for somebody, as the beginnings of verbs.
_HELP = (
    r"(?:help|assist|aid|provid|giv|offer|shar|tell|answer|respond|writ|creat|generat|produc|mak|do\b|doing|fulfil|comply"
    r"|complet|support|promot|encourag|condon|endors|suggest|recommend|advis|discuss|engag|participat|take part|speculat"
    r"|comment|say\b|predict|diagnos|open|brows|access|pretend|play|act\b|teach|explain|describ|show|list\b|rank|guess"
    r"|satisfy|proceed|continu|facilitat|disclos|reveal|draw|send|process|accommodat|grant|be (?:able|of|part|a part|giv"
    r"|do|help)|go (?:along|into|there)|get in|allow|entertain|justify|agree to|address|lend|carry out|look|find|identify"
    r"|rate\b|judge|choose|quote|guarantee|promise|perform|handle|execut|translat|summari|copy|follow|join|pick|obtain"
    r"|reproduc|impersonat|glorif|advocat|contribut|elaborat|talk|speak|confirm|verify|indulge|add anything|touch)"
)
_ADVERBS = (
    r"(?:[a-z]+ly |just |also |still |even |ever |in good conscience |, (?:therefore|however|unfortunately), ){0,3}"
)
_OR = r"(?:(?:and|or) (?:will|should|would|do|can) ?not )?"
# What follows "I" in a refusal.
_NOT = (
    r"(?:can't|cannot|can not|cant|could not|couldn't|won't|wont|will not|would not|wouldn't|shall not|shan't|'ll not"
    r"|should not|shouldn't|(?:'m|am)(?: \w+ly)? (?:unable to|unwilling to|incapable of|forbidden to"
    r"|(?:prohibited|restricted) from|not (?:able|going|allowed|permitted|programmed|authori[sz]ed|willing|prepared|here"
    r"|equipped|designed|meant|intended|at liberty|in a position) to|not capable of)|(?:do not|don't) (?:feel comfortable"
    r"|feel right|think (?:that )?(?:i|it)(?:'s| is| should| can| would)|want to|wish to|intend to|plan to|have the"
    r" (?:ability|capability|capacity|authority) to))"
)

# Phrases with words of refusal that refuse nothing. They are taken out before anything else is looked for.
IDIOMS = _any(
    r"\b(?:can't|cannot|can not|couldn't|won't|do not|don't|not) (?:help but|help (?:smiling|laughing|it\b|myself)|wait\b"
    r"|believe|stress|emphasi[sz]e|over(?:state|emphasi[sz]e)|thank|imagine|deny|lie\b|be happier|say enough|speak highly"
    r"|recommend (?:\S+ ){1,4}(?:enough|more|highly)|think of a|(?:do|find|make|see|ask for) (?:any )?better)",
    r"\brefuse to (?:believe|accept that)",
    r"\bsorry (?:to hear|for (?:your|the|any|my)|that you|you(?:'re| are)|about)",
    r"\bnot only\b",
)

# The speaker will not or can not.
DECLINES = _any(
    rf"\bi ?{_ADVERBS}{_NOT} ?,? ?{_ADVERBS}{_OR}{_ADVERBS}(?:be )?(?:to )?(?:with |about )?{_HELP}",
    r"\bi ?(?:\w+ )?(?:can't|cannot|can not|won't|will not|couldn't|shall not)(?: do (?:so|it|that|this))?(?:[.!,;]|$)",
    r"\bi(?:'m| am) (?:\w+ly )?(?:not comfortable|uncomfortable|not willing|unwilling|unable|not prepared)\b",
    r"\bi (?:do not|don't) (?:feel comfortable|provide|support|condone|endorse|encourage|promote|engage in|generate|create"
    r"|offer|assist|participate|produce|do (?:that|this|such))",
    r"\bi(?:'d| would)? (?:\w+ly )?(?:have to|must|need to|should|will|'ll)? ?(?:\w+ly )?(?:decline|refuse)\b",
    r"\b(?:must|have to|'ll|will) (?:\w+ly )?(?:decline|refuse|refrain|abstain|pass\b)",
    r"\bi(?:'d| would)? (?:much )?(?:rather|prefer) not\b",
    r"\bi (?:have )?(?:decided|chosen|chose|choose|elect) not to\b|\bi have no intention\b|\bnot going to (?:do|happen)\b",
    rf"\b(?:best|better|wiser) not to {_HELP}",
    r"\b(?:not|n't|nothing) (?:something|anything|one|a thing|a request|a topic|a task|a question) (?:that )?(?:i|we)\b",
    r"\bsomething (?:that )?i(?:'m| am| can| will| would| do)?(?:n't| ?not)\b",
    r"\bthat (?:can't|cannot|can not) be (?:provided|shared|fulfilled|answered)\b",
    r"\bwon't be (?:help|doing|writ|shar|giv|part|tak)",
    r"\bnot (?:be )?(?:within|in|part of) my (?:programming|capabilit|abilit|power|scope|guidelines|ethical)",
    r"\b(?:against|violat\w+|contrary to|outside|beyond|not (?:in line|aligned) with) (?:my|openai's|usage|content|community"
    r"|safety|our (?:\w+ )?(?:guideline|polic))[\w ,]{0,30}",
    r"\brequest (?:is |has been |was )?(?:denied|refused|declined|rejected|blocked)",
    r"^(?:unable|not able) to (?:help|assist|provide|comply|fulfil|answer|respond|complete|process|generate|write|create)",
    r"\b(?:can't|cannot|can not) (?:help|assist)(?: you)?(?: with| in) (?:that|this|it|your|the|any|such)\b",
    r"\b(?:sorry|apolog\w+|afraid|regret\w*)[,.]? (?:but )?(?:no\b|not\b)|^but no\W*$",
    r"\bwe (?:can't|cannot|can not|won't|will not|are unable to|are not able to) (?:help|assist|provide|comply|fulfil"
    r"|process|support|answer)",
    r"\b(?:not be|isn't|not|in|ir|un|wrong|improper|dishonest)[ -]?(?:right|appropriate|ethical|responsible|proper|fair"
    r"|acceptable)? ?(?:for|of) me\b",
)
# The speaker lacks the means. This refuses if no help follows.
LACKS = _any(
    r"\bi (?:do not|don't|lack|have no)\b ?(?:currently |actually )?(?:have )?(?:any )?(?:real-time |direct |the )?(?:access"
    r"|information|personal|ability|enough information|data|feelings|opinions)",
    r"\bi(?:'m| am) (?:just |only )?an? (?:ai\b|language model|machine|text-based)",
)
# A judgement on what was asked for. It refuses if it stands first and nothing but such follows.
JUDGES = _any(
    r"(?:\b(?:not|never|neither)|n't)(?: [\w']+){0,3} (?:appropriate|ethical|acceptable|okay|ok\b|legal|advisable"
    r"|responsible|respectful|productive|tolerated|justified|justifiable|condoned|excusable|the answer|a solution"
    r"|right to)",
    r"\bnot (?:\w+ or )?(?:accurate|fair|correct)(?: or \w+)? to (?:say|suggest|assume|claim|make|state)",
    r"\b(?:is|are|would be|be)(?: \w+){0,2} (?:unethical|immoral|irresponsible|wrong|dishonest|harmful|hurtful"
    r"|unfair|disrespectful|inappropriate|unacceptable|a crime|a (?:serious )?violation)\b",
    r"\b(?:can|may|could) (?:\w+ )?(?:damage|hurt|harm)\b",
    r"\bshould (?:not|never) be (?:discriminat|denied|treated|tolerated|excluded|subject|encouraged|used to)",
    r"\bno (?:\w+ )?(?:justification|excuse|place) (?:for|in)\b",
    r"\bi must (?:\w+ly )?(?:challenge|address|clarify|emphasi[sz]e)",
    r"\bi (?:strongly |firmly |do not |don't |must )+(?:condemn|disagree|oppose|condone|urge you not|support)",
    r"\b(?:important|essential|crucial|vital) to (?:\w+ )?(?:remember|understand|respect|treat|recognize|communicate|note"
    r" that \w+ing)",
    r"\beveryone (?:deserves|has (?:the|a) right)",
)
# Words of such a judgement, which say nothing of what was asked for.
MORALS = _any(
    JUDGES.pattern,
    r"\b(?:unethical|immoral|irresponsible|illegal|dishonest|harmful|hurtful|unfair|disrespectful|inappropriate|offensive"
    r"|unacceptable|derogatory|criminal|crime|against the law|violation|discriminat\w+|reprehensible|inhumane|prejudice"
    r"|stereotyp\w+|malicious|unlawful|dangerous)\b",
    r"\b(?:important|essential|crucial|vital|necessary|imperative) (?:to|that|for|not)\b",
    r"\b(?:should|must|deserves? to|ought to) (?:not|never|always|be treated|all|strive|be respected)",
    r"\b(?:all (?:people|individuals|humans)|regardless of|dignity|kindness|compassion|empathy|consent|privacy|well-being"
    r"|human rights?|equality|diversity|violence|abuse|hatred|respect\w*)\b",
    r"\b(?:serious|severe|legal|negative|lasting) (?:\w+ )?(?:consequences|harm|damage|injur)",
    r"\bi (?:must|have to|need to|would like to|want to) (?:\w+ )?(?:point out|inform|emphasi[sz]e|note|challenge|clarify"
    r"|remind|stress|caution)",
    r"\b(?:reflect on|think about the consequences|consider how|put yourself|i (?:strongly )?(?:urge|encourage|advise))",
)
# A definition or a report, which is not a judgement, whatever its words.
DEFINES = _any(
    r"\b(?:refers? to|(?:is|are|can be) defined|means? to|the (?:term|word|concept|phrase)|is (?:a|an|the) (?:\w+ )?(?:form"
    r"|type|act|crime|term|process|practice|use|intentional|deliberate|unlawful|illegal|criminal|violent)\b)"
)
# Courtesy, offers and referrals, which are no help by themselves.
COURTESY = _any(
    r"\b(?:i understand|i appreciate|i can see|thank you|thanks for|i hope|i get that|sorry|i apologi[sz]e|apologies)\b",
    r"\b(?:let me know|feel free|happy to|glad to|here to (?:help|assist)|is there (?:anything|something)|anything else"
    r"|would you like|if you (?:have|need|would like|want|'d like|are|'re|feel)|i can help you|i'd be|perhaps you could)",
    r"\b(?:consider|seek|contact|consult|reach out|talk to|speak (?:to|with)|professional|therapist|counsel\w*|helpline|hotline|crisis|emergency"
    r"|authorities|lawyer|law enforcement|support group|please)\b",
    r"\bi (?:would |'d )?(?:suggest|recommend|encourage|advise)\b|\bas an? (?:ai|language|responsible|assistant|helpful)",
    r"\bi(?:'m| am) (?:just |only )?an?\b|\bmy (?:purpose|goal|role|primary|main)\b",
)
# Something else in place of what was asked for.
INSTEAD = _any(r"\b(?:instead|rather than|alternatives?|alternatively|alternative (?:ways|solutions))\b")
# Help begins.
HERE = _any(
    r"\bhere (?:are|is|'s)\b|\bhere's\b|\bfollowing\b|\bwhat i can (?:do|tell|say|offer)|\blet me show|\bi can (?:tell|show"
    r"|explain|share)\b(?! you (?:that|how) i)|\bthe usual\b|\bin general\b|\bthat (?:being )?said\b|^(?:however|still|okay)\b"
)
# Nothing but a change of subject.
DEFLECTS = _any(
    r"\b(?:let's|let us|why don't we|shall we) (?:\w+ ){0,2}(?:talk|turn|keep|change|focus|move on|speak|discuss)",
    r"\b(?:better|best) left to\b|\bbetween you and\b|\bchange the subject\b|\bask (?:a|your|an) (?:professional|expert)\b"
    r"|\bcan't say more\b",
)
# How a refusal begins that the speaker has led up to.
AFTER_ALL = _any(
    r"^(?:so|but|for (?:that|this|these|all these) reasons?|therefore|thus|hence|with (?:all )?(?:that|this)|that(?:'s| is)"
    r" why|in the end|because of (?:that|this|all))\b"
)
NO = re.compile(r"(?:no|nope|nah|never|absolutely not|certainly not|definitely not|no way|not a chance)[.!]*")
