"""Logistic regression and nearest neighbours by scikit-learn, on the same data."""

from typing import Any

import numpy as np


def logistic(features: np.ndarray, labels: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases on raw features: scikit-learn minimises sum of cross-entropies + ||V||^2 / (2 C)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    model: Any = LogisticRegression(C=1 / (l2 * len(labels)), tol=1e-8, max_iter=5000)
    model.fit(scaler.transform(features), labels)
    weight = model.coef_ / scaler.scale_
    return weight, model.intercept_ - weight @ scaler.mean_


def nearest(train: np.ndarray, labels: np.ndarray, test: np.ndarray, k: int, temperature: float | None) -> np.ndarray:
    """Class probabilities of k nearest neighbours by cosine, each weighted by exp(similarity / temperature)."""
    from sklearn.neighbors import KNeighborsClassifier

    def weights(distance: np.ndarray) -> np.ndarray:
        return np.ones_like(distance) if temperature is None else np.exp((1 - distance) / temperature)

    model = KNeighborsClassifier(n_neighbors=k, metric="cosine", weights=weights).fit(train, labels)
    return model.predict_proba(test)
