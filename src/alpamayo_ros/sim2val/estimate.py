"""Control variates: the mean of a real metric, made surer by simulations that correlate with it.

With n pairs (y real, x simulated) and m further simulations,

    estimate = mean(y) − βᵀ (mean of x over the pairs − mean of x over all n + m simulations).

Its variance is σ²/n · (1 − ρ² m/(n+m)) with β = Cov(x)⁻¹ Cov(x, y), which minimises it; ρ is the (multiple)
correlation. This is the regression estimator of double sampling (Cochran, Sampling Techniques, 3rd ed.,
§12.6), and what R. Luo et al., "Sim2Val: Leveraging Correlation Across Test Platforms for Variance-Reduced
Metric Estimation" (CoRL 2025, arXiv:2506.20553) propose for validating vehicles.

β is estimated from the pairs. Three things answer that: the interval has the term that this adds, given the x
(exact for normal residuals, Lavenberg and Welch, Management Science 27(3), 1981), with n − p − 1 degrees of
freedom; a cross-fitted estimate beside it, whose coefficients never saw the pairs that they correct, has no
bias at all; and the bootstrap fits them anew in each resample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpamayo_ros.sim2val.samples import FloatArray, Samples
from alpamayo_ros.types import InvalidInput

RESAMPLES = 4000
FOLDS = 10
_SEED = 20261127
_MANY = 1000
"""Simulations whose mean is normal enough to be drawn as such: resampling them would take gigabytes."""


@dataclass(frozen=True)
class Mean:
    """A mean, its standard error, and its interval."""

    value: float
    standard_error: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """Of the interval."""
        return self.high - self.low


@dataclass(frozen=True, eq=False)
class Estimate:
    """The result.

    Attributes:
        n, m: pairs, further simulations.
        confidence: of all intervals.
        plain: mean of the real samples of the pairs alone, t interval.
        controlled: by control variates, t interval.
        bootstrap: interval of the same estimate by resampling pairs and simulations.
        cross_fitted: the estimate without bias.
        coefficients: [p], β.
        correlation: (multiple) correlation of real and simulated, adjusted for p; its square is the reduction
            that endless simulations would give. With one control it has β's sign.
        correlation_interval: of the unadjusted one (Fisher's z).
        reduction: of the variance, by the m that there are: 1 − controlled / plain; may be negative.
        reduction_expected: what ρ² m/(n+m) says.
        p_value: of the F test that simulation tells nothing of reality.
        shift_p_value: that pairs and further simulations are of one population, of Welch's test (Bonferroni's
            for several controls); None without further ones.
        leverage: largest of a pair.
    """

    n: int
    m: int
    confidence: float
    plain: Mean
    controlled: Mean
    bootstrap: tuple[float, float]
    cross_fitted: float
    coefficients: FloatArray
    correlation: float
    correlation_interval: tuple[float, float]
    reduction: float
    reduction_expected: float
    p_value: float
    shift_p_value: float | None
    leverage: float

    @property
    def equivalent_samples(self) -> float:
        """Real samples that the plain mean would need for the same standard error."""
        return self.n / (1.0 - self.reduction)

    @property
    def saved_samples(self) -> float:
        """Of these, those that need not be driven; negative where simulation does harm."""
        return self.equivalent_samples - self.n


def estimate(samples: Samples, *, confidence: float = 0.95, resamples: int = RESAMPLES) -> Estimate:
    """Return the mean of the real metric with and without simulation.

    Args:
        samples: what was measured.
        confidence: of the intervals.
        resamples: of the bootstrap, 0 for none (its interval is then NaN).

    Raises:
        InvalidInput: for a confidence that is none.
    """
    from scipy import special

    if not 0.0 < confidence < 1.0:
        raise InvalidInput(f"confidence: expected between 0 and 1, got {confidence:g}")
    y, x, extra = samples.real, samples.sim, samples.sim_only
    n, p, m = len(y), x.shape[1], len(extra)
    everything = np.concatenate([x, extra])
    plain_se = float(y.std(ddof=1) / np.sqrt(n))
    plain = _mean(float(y.mean()), plain_se, float(special.stdtrit(n - 1, 0.5 + confidence / 2)))

    beta = _slopes(y, x)
    centred = x - x.mean(axis=0)
    residual = y - y.mean() - centred @ beta
    left = n - p - 1
    residual_var = float(residual @ residual) / left
    shift = x.mean(axis=0) - everything.mean(axis=0)
    scatter = centred.T @ centred
    inner_var = residual_var * (1.0 / n + float(shift @ np.linalg.solve(scatter, shift)))
    sim_cov = np.cov(everything, rowvar=False).reshape(p, p)
    outer_var = float(beta @ sim_cov @ beta) / (n + m)
    controlled_var = inner_var + outer_var
    # Welch and Satterthwaite: the two parts are known by different numbers of samples.
    freedom = controlled_var**2 / (inner_var**2 / left + outer_var**2 / (n + m - 1))
    value = float(y.mean() - beta @ shift)
    controlled = _mean(
        value, float(np.sqrt(controlled_var)), float(special.stdtrit(freedom, 0.5 + confidence / 2))
    )

    total = float(((y - y.mean()) ** 2).sum())
    r2 = 1.0 - float(residual @ residual) / total
    adjusted = max(0.0, 1.0 - (1.0 - r2) * (n - 1) / left)
    sign = float(np.sign(beta[0])) if p == 1 else 1.0
    statistic = r2 / p / max((1.0 - r2) / left, 1e-300)
    hat = 1.0 / n + np.einsum("ij,ij->i", centred, np.linalg.solve(scatter, centred.T).T)
    return Estimate(
        n=n,
        m=m,
        confidence=confidence,
        plain=plain,
        controlled=controlled,
        bootstrap=_bootstrap(y, x, extra, confidence=confidence, resamples=resamples),
        cross_fitted=_cross_fitted(y, x, extra),
        coefficients=beta,
        correlation=sign * float(np.sqrt(adjusted)),
        correlation_interval=_correlation_interval(sign * float(np.sqrt(max(r2, 0.0))), n, p, confidence),
        reduction=1.0 - controlled_var / plain_se**2,
        reduction_expected=adjusted * m / (n + m),
        p_value=float(special.fdtrc(p, left, statistic)),
        shift_p_value=_shift_p_value(x, extra) if m > 1 else None,
        leverage=float(hat.max()),
    )


def samples_for_width(result: Estimate, samples: Samples, *, width: float) -> float | None:
    """Return how many pairs give the controlled estimate an interval of that width, with the m there are.

    By the normal approximation; None where the number of simulations alone forbids it.
    """
    from scipy import special

    target = (width / 2.0 / float(special.ndtri(0.5 + result.confidence / 2))) ** 2
    variance = float(samples.real.var(ddof=1))
    explained = result.correlation**2 * variance
    left, m = variance - explained, result.m

    def excess(n: float) -> float:
        return left / n + explained / (n + m) - target

    low, high = 1e-9, 1e12
    if excess(high) > 0:
        return None
    for _ in range(200):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return float(high)


def _mean(value: float, standard_error: float, quantile: float) -> Mean:
    half = quantile * standard_error
    return Mean(value, standard_error, value - half, value + half)


def _slopes(y: FloatArray, x: FloatArray) -> FloatArray:
    centred = x - x.mean(axis=0)
    return np.asarray(np.linalg.lstsq(centred, y - y.mean(), rcond=None)[0], np.float64)


def _cross_fitted(y: FloatArray, x: FloatArray, extra: FloatArray) -> float:
    """Return the estimate whose β for each fold is of the other folds, without bias whatever the law.

    The correction is against the simulations alone, which no β has seen; m/(n+m) of β is then the best.
    """
    n, m = len(y), len(extra)
    if m == 0:
        return float(y.mean())
    # Any split will do; one by chance, as the order of scenes may mean something.
    fold = np.random.default_rng([_SEED, n]).permutation(n) % min(FOLDS, n)
    corrected = np.empty(n)
    for k in range(fold.max() + 1):
        mine = fold == k
        beta = _slopes(y[~mine], x[~mine]) * m / (n + m)
        corrected[mine] = y[mine] - (x[mine] - extra.mean(axis=0)) @ beta
    return float(corrected.mean())


def _bootstrap(
    y: FloatArray, x: FloatArray, extra: FloatArray, *, confidence: float, resamples: int
) -> tuple[float, float]:
    """Return the percentile interval; pairs are resampled as pairs, further simulations by themselves."""
    if not resamples:
        return (float("nan"), float("nan"))
    n, m, p = len(y), len(extra), x.shape[1]
    random = np.random.default_rng([_SEED, n, m])
    weights = random.multinomial(n, np.full(n, 1.0 / n), size=resamples) / n
    mean_y, mean_x = weights @ y, weights @ x
    products = np.einsum("ij,ik->ijk", x, x).reshape(n, p * p)
    cov_xx = (weights @ products).reshape(-1, p, p) - np.einsum("bi,bj->bij", mean_x, mean_x)
    cov_xy = weights @ (x * y[:, None]) - mean_x * mean_y[:, None]
    # A resample may hold one scene only, or a few of equal value.
    ridge = 1e-9 * np.trace(np.cov(x, rowvar=False).reshape(p, p)) * np.eye(p)
    beta = np.linalg.solve(cov_xx + ridge, cov_xy[..., None])[..., 0]
    sums = np.zeros((resamples, p))
    if m > _MANY:
        cov = m * np.cov(extra, rowvar=False).reshape(p, p)
        sums = random.multivariate_normal(m * extra.mean(axis=0), cov, size=resamples)
    elif m:
        sums = random.multinomial(m, np.full(m, 1.0 / m), size=resamples) @ extra
    mean_all = (n * mean_x + sums) / (n + m)
    values = mean_y - np.einsum("bi,bi->b", beta, mean_x - mean_all)
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


def _shift_p_value(x: FloatArray, extra: FloatArray) -> float:
    """Return the least p value of Welch's tests that a column has one mean, times the number of columns."""
    from scipy import special

    parts = x.var(axis=0, ddof=1) / len(x), extra.var(axis=0, ddof=1) / len(extra)
    freedom = (parts[0] + parts[1]) ** 2 / (parts[0] ** 2 / (len(x) - 1) + parts[1] ** 2 / (len(extra) - 1))
    t = np.abs(x.mean(axis=0) - extra.mean(axis=0)) / np.sqrt(parts[0] + parts[1])
    return float(min(1.0, x.shape[1] * np.min(2.0 * special.stdtr(freedom, -t))))


def _correlation_interval(r: float, n: int, p: int, confidence: float) -> tuple[float, float]:
    """Return Fisher's interval; of several controls roughly, with their number taken off the samples."""
    from scipy import special

    left = n - p - 2
    if left < 1:
        return (-1.0, 1.0)
    z = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))
    half = float(special.ndtri(0.5 + confidence / 2)) / np.sqrt(left)
    return float(np.tanh(z - half)), float(np.tanh(z + half))
