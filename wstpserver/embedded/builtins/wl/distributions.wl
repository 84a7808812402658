(* Distributions: densities, distribution functions and moments. Random numbers and quantiles are in `numerics`. *)

NormalDistribution[] := NormalDistribution[0, 1]
UniformDistribution[] := UniformDistribution[{0, 1}]
PDF[NormalDistribution[m_, s_], x_] := Exp[-(x - m)^2/(2 s^2)]/(Sqrt[2 Pi] s)
PDF[UniformDistribution[{a_, b_}], x_?NumericQ] := If[a <= x <= b, 1/(b - a), 0]
PDF[UniformDistribution[{a_, b_}], x_] := Piecewise[{{1/(b - a), a <= x <= b}}, 0]
PDF[ExponentialDistribution[l_], x_?NumericQ] := If[x >= 0, l Exp[-l x], 0]
PDF[ExponentialDistribution[l_], x_] := Piecewise[{{l Exp[-l x], x >= 0}}, 0]
PDF[PoissonDistribution[l_], k_Integer] := If[k >= 0, Exp[-l] l^k/k!, 0]
PDF[BinomialDistribution[n_, p_], k_Integer] := If[0 <= k <= n, Binomial[n, k] p^k (1 - p)^(n - k), 0]
PDF[BernoulliDistribution[p_], k_Integer] := Which[k == 0, 1 - p, k == 1, p, True, 0]
PDF[GeometricDistribution[p_], k_Integer] := If[k >= 0, p (1 - p)^k, 0]
PDF[DiscreteUniformDistribution[{a_, b_}], k_Integer] := If[a <= k <= b, 1/(b - a + 1), 0]
PDF[d_] := Function[x, PDF[d, x]]
CDF[NormalDistribution[m_, s_], x_] := Erfc[(m - x)/(Sqrt[2] s)]/2
CDF[UniformDistribution[{a_, b_}], x_?NumericQ] := Clip[(x - a)/(b - a), {0, 1}]
CDF[ExponentialDistribution[l_], x_?NumericQ] := If[x >= 0, 1 - Exp[-l x], 0]
CDF[ExponentialDistribution[l_], x_] := Piecewise[{{1 - Exp[-l x], x >= 0}}, 0]
CDF[d : (_PoissonDistribution | _BinomialDistribution | _BernoulliDistribution | _GeometricDistribution), x_?NumericQ] := Total[Table[PDF[d, k], {k, 0, Floor[x]}]]
CDF[d_] := Function[x, CDF[d, x]]
Mean[NormalDistribution[m_, s_]] := m
Mean[UniformDistribution[{a_, b_}]] := (a + b)/2
Mean[ExponentialDistribution[l_]] := 1/l
Mean[PoissonDistribution[l_]] := l
Mean[BinomialDistribution[n_, p_]] := n p
Mean[BernoulliDistribution[p_]] := p
Mean[GeometricDistribution[p_]] := 1/p - 1
Mean[DiscreteUniformDistribution[{a_, b_}]] := (a + b)/2
Mean[GammaDistribution[a_, b_]] := a b
Mean[BetaDistribution[a_, b_]] := a/(a + b)
Mean[ChiSquareDistribution[n_]] := n
Mean[LogNormalDistribution[m_, s_]] := Exp[m + s^2/2]
Variance[NormalDistribution[m_, s_]] := s^2
Variance[UniformDistribution[{a_, b_}]] := (b - a)^2/12
Variance[ExponentialDistribution[l_]] := 1/l^2
Variance[PoissonDistribution[l_]] := l
Variance[BinomialDistribution[n_, p_]] := n p (1 - p)
Variance[BernoulliDistribution[p_]] := p (1 - p)
Variance[GeometricDistribution[p_]] := (1 - p)/p^2
Variance[GammaDistribution[a_, b_]] := a b^2
Variance[ChiSquareDistribution[n_]] := 2 n
StandardDeviation[d : (_NormalDistribution | _UniformDistribution | _ExponentialDistribution | _PoissonDistribution | _BinomialDistribution | _BernoulliDistribution | _GeometricDistribution | _GammaDistribution | _ChiSquareDistribution)] := PowerExpand[Sqrt[Variance[d]]]
Median[NormalDistribution[m_, s_]] := m
