"""Remez exchange in multiple precision, for linear families and for ratios of two of them."""

import mpmath as mp


def linear(basis, target, weight, nodes, sweeps=40):
    """Coefficients a minimising max over nodes of weight |target - sum a_j basis_j|.

    basis: one list of values a node; target, weight: one value a node. Returns (a, max error).
    """
    count = len(basis[0])
    last = len(nodes) - 1
    reference = [
        int(mp.nint(last * (1 - mp.cos(mp.pi * i / count)) / 2)) for i in range(count + 1)
    ]
    best = None
    for _ in range(sweeps):
        system = mp.matrix(count + 1, count + 1)
        right = mp.matrix(count + 1, 1)
        for row, i in enumerate(reference):
            for j in range(count):
                system[row, j] = basis[i][j]
            system[row, count] = (-1) ** row / weight[i]
            right[row] = target[i]
        solution = mp.lu_solve(system, right)
        a = [solution[j] for j in range(count)]
        level = abs(solution[count])
        error = [
            weight[i] * (target[i] - mp.fdot(a, basis[i])) for i in range(len(nodes))
        ]
        worst = max(abs(e) for e in error)
        if best is None or worst < best[1]:
            best = (a, worst)
        if worst <= level * mp.mpf("1.0001"):
            break
        updated = _alternating_extrema(error, count + 1)
        if updated is None or updated == reference:
            break
        reference = updated
    return best


def _alternating_extrema(error, wanted):
    """Indices of the largest error of each run of one sign, thinned from the ends to `wanted`."""
    extrema = []
    for i, e in enumerate(error):
        if e == 0:
            continue
        if extrema and (error[extrema[-1]] > 0) == (e > 0):
            if abs(e) > abs(error[extrema[-1]]):
                extrema[-1] = i
        else:
            extrema.append(i)
    while len(extrema) > wanted:
        if len(extrema) == wanted + 1:
            extrema.pop(0 if abs(error[extrema[0]]) < abs(error[extrema[-1]]) else -1)
        else:
            inner = min(range(len(extrema) - 1),
                        key=lambda k: max(abs(error[extrema[k]]), abs(error[extrema[k + 1]])))
            if inner == 0:
                extrema.pop(0)
            elif inner == len(extrema) - 2:
                extrema.pop()
            else:
                del extrema[inner:inner + 2]
    return extrema if len(extrema) == wanted else None


def rational(numerator, denominator, target, nodes, sweeps=60):
    """Minimax relative error of sum p_j numerator_j / (1 + sum q_j denominator_j) to `target`.

    The denominator's first basis function must be 1 everywhere. Remez exchange; on each reference
    the levelled system  P_i - f_i (1 + s_i E) Q_i = 0  is solved by Newton's method.
    Returns (p, q with q_0 = 1, max relative error).
    """
    n, m = len(numerator[0]), len(denominator[0]) - 1
    unknowns = n + m + 1
    last = len(nodes) - 1
    reference = [
        int(mp.nint(last * (1 - mp.cos(mp.pi * i / (unknowns - 1))) / 2))
        for i in range(unknowns)
    ]
    level = mp.mpf(0)
    best = None
    for _ in range(sweeps):
        for _ in range(60):
            system = mp.matrix(unknowns, unknowns)
            right = mp.matrix(unknowns, 1)
            for row, i in enumerate(reference):
                sign = (-1) ** row
                f = target[i] * (1 + sign * level)
                for j in range(n):
                    system[row, j] = numerator[i][j]
                for j in range(m):
                    system[row, n + j] = -f * denominator[i][j + 1]
                # Derivative in the level, with the denominator of the last iterate (1 at first).
                q = 1 if best is None and level == 0 else mp.fdot(previous_q, denominator[i])
                system[row, n + m] = -target[i] * sign * q
                right[row] = f - target[i] * sign * level * q
            solution = mp.lu_solve(system, right)
            p = [solution[j] for j in range(n)]
            previous_q = [mp.mpf(1)] + [solution[n + j] for j in range(m)]
            change = abs(solution[n + m] - level)
            level = solution[n + m]
            if change <= abs(level) * mp.mpf("1e-12"):
                break
        error = [
            1 - mp.fdot(p, numerator[i]) / (mp.fdot(previous_q, denominator[i]) * target[i])
            for i in range(len(nodes))
        ]
        worst = max(abs(e) for e in error)
        if best is None or worst < best[2]:
            best = (p, previous_q, worst)
        if worst <= abs(level) * mp.mpf("1.001"):
            break
        updated = _alternating_extrema(error, unknowns)
        if updated is None or updated == reference:
            break
        reference = updated
    return best
