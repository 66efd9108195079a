"""The rows of a result file worked out the plain way: `json`, dicts and loops. What the fast writer is held against."""

import json
import math


def best_of(phrase):
    best = {}
    for one in phrase.get("nBest") or []:
        confidence = one.get("confidence")
        if not best or (
            confidence is not None and (best["confidence"] is None or confidence > best["confidence"])
        ):
            best = {**one, "confidence": confidence}
    return best


def ms(ticks):
    return round(ticks / 10_000)


def rows_of(file_id, audio_url, raw):
    """The rows of one result file by table, in order."""
    result = json.loads(raw)
    phrases, words, channels = [], [], {}
    for index, phrase in enumerate(result.get("recognizedPhrases") or []):
        best = best_of(phrase)
        channel = phrase.get("channel", 0)
        forms = {
            "display": best.get("display"),
            "lexical": best.get("lexical"),
            "itn": best.get("itn"),
            "masked_itn": best.get("maskedITN"),
        }
        row = {
            "file_id": file_id,
            "audio_url": audio_url,
            "channel": channel,
            "phrase_index": index,
            "speaker": phrase.get("speaker"),
            "locale": phrase.get("locale"),
            "recognition_status": phrase.get("recognitionStatus"),
            "offset_ms": ms(phrase["offsetInTicks"]),
            "duration_ms": ms(phrase["durationInTicks"]),
            "confidence": best.get("confidence"),
            **forms,
        }
        phrases.append(row)
        channels.setdefault(channel, []).append((phrase, row))
        for form, key, text in (("lexical", "words", "word"), ("display", "displayWords", "displayText")):
            words += [
                {
                    "file_id": file_id,
                    "channel": channel,
                    "phrase_index": index,
                    "word_index": position,
                    "form": form,
                    "word": word.get(text),
                    "offset_ms": ms(word["offsetInTicks"]),
                    "duration_ms": ms(word["durationInTicks"]),
                    "confidence": word.get("confidence"),
                }
                for position, word in enumerate(best.get(key) or [])
            ]
    combined = {one.get("channel", 0): one for one in result.get("combinedRecognizedPhrases") or []}
    transcripts = []
    for channel in sorted({*combined, *channels}):
        spoken = channels.get(channel, [])
        if channel in combined:
            one = combined[channel]
            forms = {
                "display": one.get("display"),
                "lexical": one.get("lexical"),
                "itn": one.get("itn"),
                "masked_itn": one.get("maskedITN"),
            }
        else:
            forms = {}
            for form in ("display", "lexical", "itn", "masked_itn"):
                there = [row[form] for _, row in spoken if row[form] is not None]
                forms[form] = " ".join(text for text in there if text) if there else None
        ticks_by_locale = {}
        for phrase, row in spoken:
            if row["locale"] is not None:
                before = ticks_by_locale.get(row["locale"], 0)
                ticks_by_locale[row["locale"]] = before + max(phrase["durationInTicks"], 0)
        known = [
            (max(phrase["durationInTicks"], 0), row["confidence"])
            for phrase, row in spoken
            if row["confidence"] is not None
        ]
        weight = math.fsum(one for one, _ in known)
        mean = None
        if known and weight:
            mean = math.fsum(ticks * confidence for ticks, confidence in known) / weight
        elif known:
            mean = math.fsum(confidence for _, confidence in known) / len(known)
        transcripts.append(
            {
                "file_id": file_id,
                "audio_url": audio_url,
                "channel": channel,
                "locale": max(ticks_by_locale, key=ticks_by_locale.get) if ticks_by_locale else None,
                **forms,
                "duration_ms": ms(result["durationInTicks"]) if "durationInTicks" in result else None,
                "speech_ms": ms(sum(max(phrase["durationInTicks"], 0) for phrase, _ in spoken)),
                "phrase_count": len(spoken),
                "confidence": mean,
            }
        )
    return {"transcripts": transcripts, "phrases": phrases, "words": words}
