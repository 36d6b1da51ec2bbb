"""Action units as the blend shapes of Apple's ARKit, which avatars and stage programs know, where both exist."""

from collections.abc import Mapping

# By the Facial Action Coding System's and ARKit's descriptions (ARFaceAnchor.BlendShapeLocation): one unit moves both
# sides here, because the model reads no sides. Units without a blend shape (AU11, AU23, AU25) are left out.
BLEND_SHAPES: dict[str, tuple[str, ...]] = {
    "AU01": ("browInnerUp",),
    "AU02": ("browOuterUpLeft", "browOuterUpRight"),
    "AU04": ("browDownLeft", "browDownRight"),
    "AU05": ("eyeWideLeft", "eyeWideRight"),
    "AU06": ("cheekSquintLeft", "cheekSquintRight"),
    "AU07": ("eyeSquintLeft", "eyeSquintRight"),
    "AU09": ("noseSneerLeft", "noseSneerRight"),
    "AU10": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "AU12": ("mouthSmileLeft", "mouthSmileRight"),
    "AU14": ("mouthDimpleLeft", "mouthDimpleRight"),
    "AU15": ("mouthFrownLeft", "mouthFrownRight"),
    "AU17": ("mouthShrugLower",),
    "AU20": ("mouthStretchLeft", "mouthStretchRight"),
    "AU24": ("mouthPressLeft", "mouthPressRight"),
    "AU26": ("jawOpen",),
    "AU28": ("mouthRollLower", "mouthRollUpper"),
    "AU45": ("eyeBlinkLeft", "eyeBlinkRight"),
}
FULL = 5.0  # intensity of an action unit at which a blend shape is 1


def blend_shapes(aus: Mapping[str, float], intensities: Mapping[str, float]) -> dict[str, float]:
    """Return the blend shapes' coefficients, 0 to 1, by name.

    They are the units' intensities where the model gives them, which are amounts of motion, and else the probabilities
    that the units are present.
    """
    shapes: dict[str, float] = {}
    for unit, names in BLEND_SHAPES.items():
        if unit in intensities:
            value = intensities[unit] / FULL
        elif unit in aus:
            value = aus[unit]
        else:
            continue
        shapes.update(dict.fromkeys(names, min(1.0, max(0.0, value))))
    return shapes
