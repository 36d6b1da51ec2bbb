// `make docs` writes this file from models/labels.py and service/purpose.py.

import type { ActionUnit, Purpose } from "../../../affectstream/js/src/event";

export const EXPRESSIONS = ["neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise"] as const;

/** Plain names of the Facial Action Coding System. */
export const ACTION_UNITS: Readonly<Record<ActionUnit, string>> = {
  AU01: "inner brow raiser",
  AU02: "outer brow raiser",
  AU04: "brow lowerer",
  AU05: "upper lid raiser",
  AU06: "cheek raiser",
  AU07: "lid tightener",
  AU09: "nose wrinkler",
  AU10: "upper lip raiser",
  AU11: "nasolabial deepener",
  AU12: "lip corner puller",
  AU14: "dimpler",
  AU15: "lip corner depressor",
  AU17: "chin raiser",
  AU20: "lip stretcher",
  AU23: "lip tightener",
  AU24: "lip pressor",
  AU25: "lips part",
  AU26: "jaw drop",
  AU28: "lip suck",
  AU45: "blink",
};

/** What a session may be for. */
export const PURPOSES: Readonly<Record<Purpose, string>> = {
  "research": "a study whose participants have agreed",
  "usability": "testing how people get on with a product",
  "accessibility": "a help for the person who is read",
  "art": "a performance or an installation",
  "own use": "only myself",
  "medical": "care or therapy",
  "safety": "warning people of danger, such as tiredness at the wheel",
  "other": "said in words",
};
