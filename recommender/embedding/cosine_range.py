"""The range of a model's cosines, measured on unrelated texts."""

import numpy as np
from numpy.typing import NDArray

DEFAULT_DISTANCE = 0.98  # median of 1 - cosine over the pairs of TEXTS, for the default model
MIN_SPREAD = 1.5  # smaller factors are left at 1: they change the ranking little

# One subject each, of the length of a lead.
TEXTS = (
    "The city council voted on Tuesday to widen the ring road, after two years of dispute with the residents.",
    "Whisk the eggs with the sugar until pale, fold in the flour and the melted butter, and bake for forty minutes.",
    "The striker scored twice in the second half, and the home side moved up to third place in the league.",
    "Astronomers have measured the mass of a planet that orbits a faint red star every eleven days.",
    "Set the option in the configuration file, restart the server, and check the log for warnings about the port.",
    "Shares of the airline fell by six percent after it warned that fuel prices would cut its annual profit.",
    "Patients who took the new drug slept longer, but a third of them complained of headaches in the first week.",
    "Her second novel follows three generations of a family of clockmakers in a small town by the sea.",
    "Prune the roses in late winter, cut out dead wood, and cover the roots with compost before the last frost.",
    "The president dismissed his defence minister hours before parliament was to debate the army's budget.",
    "The painting, stolen from a church in the war, was found behind a wardrobe when the house was sold.",
    "A storm left thousands of homes without electricity, and the coast guard rescued the crew of a trawler.",
    "Children in small classes learn to read sooner, a study of two hundred primary schools has found.",
    "The function returns an iterator over the keys of the map; it throws an exception if the map is empty.",
    "The cathedral's organ was restored pipe by pipe, and sounds again this Sunday with a concert of Bach.",
    "Police arrested a man of forty who is said to have sold forged tickets for the underground.",
)


def measure_spread(vectors: NDArray[np.float32]) -> float:
    """Return the factor for 1 - cosine that maps a model's cosines to the range of the default model; 1 or more.

    Models that were trained with a low temperature have a narrow range: two random articles have a cosine of
    0.85 ± 0.02 with multilingual-e5-small, and of 0.2 ± 0.13 with the default model, for which the signal weights
    were chosen.

    Args:
        vectors: the vectors of TEXTS, L2-normalised, float32, shape (len(TEXTS), dimensions).
    """
    cosines = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    distance = 1.0 - float(np.median(cosines[np.triu_indices(len(cosines), 1)]))
    factor = DEFAULT_DISTANCE / max(distance, 1e-3)
    return round(factor, 4) if factor > MIN_SPREAD else 1.0
