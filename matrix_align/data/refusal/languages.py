"""How other languages say that the speaker will not or can not help. Patterns only, for one sentence in lower case.

Each names verbs of helping beside the negation, so that "leider ist das Museum geschlossen" is no refusal.
"""

from __future__ import annotations

import re

_GERMAN = (
    r"(?:helfen|weiterhelfen|machen|tun|schreiben|geben|beantworten|sagen|bereitstellen|erstellen|unterstützen|nachkommen"
    r"|dienen|erfüllen|liefern|teilen|verraten|empfehlen|beraten|anbieten|verfassen|übersetzen|eingehen|mitteilen|zeigen"
    r"|erklären|nennen|behilflich|zustimmen|mitmachen|teilnehmen|ausführen|besprechen|diskutieren)"
)
_FRENCH = (
    r"(?:aider|faire|répondre|fournir|donner|écrire|rédiger|dire|partager|créer|générer|assister|satisfaire|soutenir"
    r"|participer|expliquer|proposer|conseiller|recommander|accéder|accomplir|traiter|continuer|discuter|encourager)"
)
_SPANISH = (
    r"(?:ayudar|hacer|responder|proporcionar|dar|escribir|decir|compartir|crear|generar|asistir|cumplir|apoyar|participar"
    r"|explicar|ofrecer|aconsejar|recomendar|acceder|realizar|redactar|discutir|promover|satisfacer|facilitar|revelar)"
)
_ITALIAN = (
    r"(?:aiutar|far|risponder|fornir|dar|scriver|dir|condivider|crear|generar|assister|soddisfar|sostener|partecipar"
    r"|spiegar|offrir|consigliar|raccomandar|acceder|eseguir|discuter|promuover|rivelar|supportar)"
)
_PORTUGUESE = (
    r"(?:ajudar|fazer|responder|fornecer|dar|escrever|dizer|partilhar|compartilhar|criar|gerar|assistir|atender|apoiar"
    r"|participar|explicar|oferecer|aconselhar|recomendar|cumprir|realizar|discutir|promover|revelar|auxiliar)"
)
_RUSSIAN = (
    r"(?:помо|выполн|предостав|ответ|напис|сказа|дать|сдела|созда|поделит|поддерж|участв|объясн|рекоменд|обсужд|раскры"
    r"|сообщ|отвеч|давать|писать|помогать)"
)
_CHINESE = r"(?:帮|幫|提供|回答|协助|協助|完成|满足|滿足|代你|代您|替你|替您|为你|为您|告诉|告訴|参与|支持|给你|给您|生成|写|寫|做|讨论|分享)"
_JAPANESE = (
    r"(?:応え|答え|こたえ|手伝い|対応|提供|回答|教え|協力|支援|作成|受け|案内|伝え|助け|書く|する|差し控え)[^。]{0,14}?"
)
_NORDIC = (
    r"(?:hjälpa|hjælpe|hjelpe|göra|gøre|gjøre|svara|svare|skriva|skrive|ge\b|give|gi\b|tillhandahålla|bistå|dela|dele)"
)

LANGUAGES = {
    "German": rf"\b(?:kann|darf|werde|möchte|will|könnte)\b (?:ich|wir)\b[^.!?]{{0,60}}\b(?:nicht|kein\w*)\b[^.!?]{{0,60}}{_GERMAN}"
    rf"|\b(?:ich|wir) (?:kann|darf|werde|möchte|will|könnte|können)\b[^.!?]{{0,60}}\b(?:nicht|kein\w*)\b[^.!?]{{0,60}}{_GERMAN}"
    r"|\b(?:nicht in der lage|nicht imstande|außerstande|nicht möglich, (?:ihnen|dir))"
    r"|\b(?:muss|möchte|werde)\b[^.!?]{0,60}\b(?:ablehnen|verweigern|absagen)|\bich (?:lehne|weigere)\b"
    rf"|\bnein, das (?:werde|kann|mache) ich\b[^.!?]*|\bdas (?:kann|werde) ich[^.!?]{{0,30}} nicht {_GERMAN}",
    "French": rf"\bje ne (?:peux|pourrai|pourrais|puis|vais|veux|souhaite|saurais|dois)(?: malheureusement)? pas [^.!?]{{0,40}}{_FRENCH}"
    rf"|\bje (?:peux|vais|veux) pas [^.!?]{{0,20}}{_FRENCH}"
    r"|\bje ne suis pas (?:en mesure|capable|autorisé|à l'aise|programmé)|\bil m'est impossible|\bje (?:me )?(?:refuse|dois"
    r" (?:refuser|décliner)|décline)",
    "Spanish": rf"\bno (?:me es posible|(?:te |le |les |os )?(?:puedo|podría|podré|quiero|voy a|debo))\b[^.!?]{{0,30}}{_SPANISH}"
    r"|\bno me es posible\b|\bno estoy (?:autorizad|en condiciones|programad|dispuest|capacitad)|\bno soy capaz"
    r"|\b(?:debo|tengo que) (?:rechazar|negarme|declinar)|\bme niego\b|\bme temo que no\b",
    "Italian": rf"\bnon (?:posso|potrei|potrò|voglio|intendo|mi è possibile)\b[^.!?]{{0,30}}{_ITALIAN}"
    r"|\bnon (?:sono in grado|sono autorizzat|mi è possibile)|\b(?:devo|debbo) (?:rifiutar|declinar)|\bmi rifiuto\b",
    "Portuguese": rf"\bnão (?:posso|poderei|poderia|consigo|vou|quero|devo|me é possível)\b[^.!?]{{0,30}}{_PORTUGUESE}"
    r"|\bnão (?:estou autorizad|sou capaz|me é possível)|\b(?:devo|tenho que|preciso) (?:recusar|declinar)|\bme recuso\b",
    "Dutch": r"\b(?:ik|we) (?:kan|mag|wil|zal)\b[^.!?]{0,50}\bniet\b[^.!?]{0,40}(?:helpen|geven|schrijven|doen|beantwoorden|delen)"
    r"|\bkan ik\b[^.!?]{0,40}\bniet\b[^.!?]{0,30}(?:helpen|geven|schrijven|doen|beantwoorden|delen)|\bniet in staat om",
    "Nordic": rf"\b(?:jag|jeg) (?:kan|får|vill|vil)\b[^.!?]{{0,30}}\b(?:inte|ikke)\b[^.!?]{{0,30}}{_NORDIC}"
    rf"|\bkan (?:jag|jeg)\b[^.!?]{{0,30}}\b(?:inte|ikke)\b[^.!?]{{0,30}}{_NORDIC}",
    "Finnish": r"\ben (?:valitettavasti )?(?:voi|pysty|saa)\b[^.!?]{0,40}(?:auttaa|antaa|kirjoittaa|vastata|tehdä|tarjota)",
    "Polish": r"\bnie (?:mogę|jestem w stanie|będę|mogłabym|mógłbym)\b[^.!?]{0,40}(?:pom|odpowi|napis|udziel|poda|zrobi|spełni"
    r"|dostarcz|powiedz|wykona)|\bmuszę odmówić",
    "Czech": r"\b(?:nemohu|nemůžu|nesmím|nedokážu)\b[^.!?]{0,40}(?:pomo|odpov|napsat|poskyt|udělat|splnit|říct|sdílet)",
    "Romanian": r"\bnu (?:vă |te |îți )?(?:pot|voi)\b[^.!?]{0,30}(?:ajut|oferi|răspun|scri|furniz|face|da\b)",
    "Hungarian": r"\bnem (?:tudok|tudom|áll módomban|szeretnék)\b[^.!?]{0,40}(?:segít|adni|válasz|írni|teljesít|megtenni)?",
    "Greek": r"\bδεν (?:μπορώ|είμαι σε θέση|επιτρέπεται)\b[^.!;]{0,40}(?:βοηθήσ|παρέχ|παράσχ|απαντήσ|γράψ|δώσ|κάν|εκπληρώ)",
    "Russian": rf"\b(?:не (?:могу|смогу|буду|стану|в состоянии|имею права|готов))\b[^.!?]{{0,40}}{_RUSSIAN}"
    r"|\b(?:вынужден\w* отказа|отказываюсь|не имею возможности)",
    "Ukrainian": r"\bне (?:можу|зможу|буду)\b[^.!?]{0,40}(?:допом|надат|відпов|напис|зроб|викон|сказа)",
    "Turkish": r"\b(?:yardım(?:cı)?|bu|bunu|sağla\w*|ver\w*|yaz\w*|yanıtla\w*|yerine)\b[^.!?]{0,40}\b\w+(?:amam|emem|amıyorum"
    r"|emiyorum|amayacağım|emeyeceğim|amayız|emeyiz)\b",
    "Indonesian": r"\b(?:saya|kami)\b[^.!?]{0,20}\b(?:tidak|tak) (?:bisa|dapat|boleh|akan|mampu)\b[^.!?]{0,30}(?:bantu|beri|jawab"
    r"|tulis|lakukan|sedia|penuhi|memenuhi|berbagi|katakan)",
    "Vietnamese": r"(?:không (?:thể|được phép|có khả năng))[^.!?]{0,20}(?:giúp|cung cấp|trả lời|hỗ trợ|thực hiện|đáp ứng|viết|chia sẻ)",
    "Thai": r"(?:ไม่สามารถ|ขอปฏิเสธ)[^.!?]{0,20}(?:ช่วย|ให้|ตอบ|เขียน|ทำ|สร้าง)?",
    "Chinese": rf"(?:我|我们|抱歉|对不起|對不起|助手|模型)[^。！？]{{0,16}}(?:不能(?!不)|无法|無法|不可以|不会|不會|不便|没办法|不应该|拒绝)[^。！？]{{0,10}}{_CHINESE}",
    "Japanese": rf"{_JAPANESE}(?:できません|できかね|いたしかね|致しかね|わけにはいきません|しかねます|出来ません)|お断り(?:し|いた|させ)|差し控え",
    "Korean": r"(?:도와|도움|제공|답변|응답|응할|도울|알려|작성|드릴|말씀|수행|공유|따를)[^.!?]{0,10}수 (?:가 )?없(?:습니다|어요|네요|음)|거절",
    "Hindi": r"(?:मदद|सहायता|जानकारी|उत्तर|जवाब|लिख|दे|कर|बता|प्रदान|पूरा)[^।!?]{0,25}(?:नहीं [^।]{0,8}(?:सकत|सकूँ|सकूं|पाऊ)|असमर्थ)",
    "Bengali": r"(?:সাহায্য|উত্তর|তথ্য|লিখ|দিতে|করতে)[^।!?]{0,20}(?:পার(?:ব|ছি|ি) না|অক্ষম)",
    "Arabic": r"(?:لا (?:يمكنني|أستطيع|يمكننا|نستطيع|أقدر|يسعني)|لن (?:أستطيع|أتمكن|أقوم|يمكنني)|لست قادر|غير قادر|أعتذر عن|أرفض)",
    "Persian": r"(?:نمی[\u200c ]?توان(?:م|یم)|قادر نیستم)",
    "Hebrew": r"(?:אינני|איני|לא) (?:יכול(?:ה)?|אוכל|רשאי) (?:לעזור|לספק|לענות|לכתוב|לתת|לסייע|לבצע)",
}
DECLINES_ELSEWHERE = re.compile("|".join(f"(?:{pattern})" for pattern in LANGUAGES.values()))

# Words that every one of these has, which is quicker to see.
NEGATIONS = re.compile(
    r"\b(?:nicht|kein|pas|impossible|refuse|décline|décliner|no|niego|rechazar|declinar|negarme|non|rifiut\w+|rifiuto"
    r"|não|recus\w+|niet|inte|ikke|en|nie|odmówić|nem\w+|nedokážu|nu|δεν|не|отказ\w+|tidak|tak|không|ablehnen|verweigern"
    r"|absagen|lehne|weigere|außerstande)\b|(?:amam|emem|yorum|yeceğim|yacağım|amayız|emeyiz)\b"
    r"|[^\x00-\u04ff]"
)

# Phrases with such words that refuse nothing.
IDIOMS_ELSEWHERE = re.compile(
    r"\bje ne peux que\b|\bno puedo (?:dejar de|evitar|creer|esperar)\b|\bnon posso (?:che|fare a meno|credere)\b"
    r"|\bnão posso (?:deixar de|acreditar)\b|不能不|\bне могу не\b|\bkann ich nur\b|\bno puedo más que\b"
)
