// What a refusal of the service says in the page's language. The service speaks English alone, so that elsewhere its `code`
// (RFC 9457) chooses a sentence of the catalogue.

import { language, say, type Text } from "./say";

/** `{named}` is what the service's sentence quotes first; `{detail}` is all of that sentence. */
const SENTENCES: Readonly<Record<string, Text>> = {
  name_taken: "A session called “{named}” is open already.",
  not_acceptable: "The camera’s video cannot be read by the service: {detail}",
  not_offered: "The service does not offer what was chosen in the settings: {detail}",
  purpose_forbidden:
    "The purpose names “{named}”. Article 5(1)(f) of the EU’s AI Act forbids inferring emotions at work and in education, except for medical or safety reasons, which are purposes of their own here.",
  purpose_needed: "Say what it is for: nobody is read without a purpose.",
  role_needed: "Your token does not allow this. Ask whoever runs the service for another one.",
  rule_name_taken: "There is a rule “{named}” already. Give this one a name of its own.",
  session_over: "The session “{named}” cannot do that now: it has ended, or has not begun.",
  source_not_allowed: "The source “{named}” may not be opened from this page. Whoever runs the service can allow it (--allowed-sources).",
  too_many: "The service allows no more at once. Close something there, or try again later: {detail}",
  too_many_requests: "The service allows no more at once. Close something there, or try again later: {detail}",
  unavailable: "A part of the service does not answer. Try again in a few seconds: {detail}",
  unknown_session: "The session “{named}” is not there any more, or nothing is kept of it.",
  unusable_rule:
    "The service cannot use this rule. Limit and seconds are numbers: valence and arousal lie from −1 to 1, all other values from 0 to 1, seconds from 0 to 3600. A session has 32 rules at most.",
  value_not_given: "The rule “{named}” looks at a value that the model does not give.",
};

/** The sentence of a refusal with this `code` and `detail`. */
export function refusal(code: string, detail: string): string {
  if (language === "en") return detail;
  const text = SENTENCES[code];
  const named = /'([^']+)'/.exec(detail)?.[1] ?? "";
  if (text === undefined || (text.includes("{named}") && !named)) return say("The service refused this: {detail}", { detail });
  return say(text, { named, detail });
}
