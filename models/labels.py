"""Define the labels' orders and names once, for training, export, serving and documentation. Imports nothing."""

# The order of the Affective Behavior Analysis in-the-wild (ABAW) challenges.
EXPRESSIONS = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")

# Facial action units by the names of the Facial Action Coding System (Ekman & Friesen 1978).
ACTION_UNITS = {
    "AU01": "inner brow raiser",
    "AU02": "outer brow raiser",
    "AU04": "brow lowerer",
    "AU05": "upper lid raiser",
    "AU06": "cheek raiser",
    "AU07": "lid tightener",
    "AU09": "nose wrinkler",
    "AU10": "upper lip raiser",
    "AU11": "nasolabial deepener",
    "AU12": "lip corner puller",
    "AU14": "dimpler",
    "AU15": "lip corner depressor",
    "AU17": "chin raiser",
    "AU20": "lip stretcher",
    "AU23": "lip tightener",
    "AU24": "lip pressor",
    "AU25": "lips part",
    "AU26": "jaw drop",
    "AU28": "lip suck",
    "AU45": "blink",
}

# ABAW action unit sets: 2020 (FG), 2022 (multi-task), and the union that FaceBehaviorNet uses.
AUS_2020 = ("AU01", "AU02", "AU04", "AU06", "AU12", "AU15", "AU20", "AU25")
AUS_2022 = ("AU01", "AU02", "AU04", "AU06", "AU07", "AU10", "AU12", "AU15", "AU23", "AU24", "AU25", "AU26")
AUS_UNION = (
    "AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU10", "AU11",
    "AU12", "AU15", "AU17", "AU20", "AU23", "AU24", "AU25", "AU26",
)  # fmt: skip

# RAF-DB's compound expressions in their published order (1-11).
COMPOUND_EXPRESSIONS = (
    "happily surprised", "happily disgusted", "sadly fearful", "sadly angry", "sadly surprised", "sadly disgusted",
    "fearfully angry", "fearfully surprised", "angrily surprised", "angrily disgusted", "disgustedly surprised",
)  # fmt: skip

# EmotioNet's basic and compound expressions in the order of the columns of its list of categories.
EMOTIONET_EXPRESSIONS = (
    "angrily disgusted", "angrily surprised", "anger", "appalled", "awed", "disgust", "fear", "fearfully angry",
    "fearfully surprised", "happily disgusted", "happily surprised", "happiness", "sadness", "sadly angry",
    "sadly disgusted", "surprise",
)  # fmt: skip
