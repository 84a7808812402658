(* Functions of numbers and polynomials that Mathics3 lacks. *)

AbsArg[z_] := {Abs[z], Arg[z]}
ReIm[z_List] := Map[ReIm, z]
ReIm[z_] := {Re[z], Im[z]}
Attributes[KroneckerDelta] = {Orderless}
KroneckerDelta[] := 1
KroneckerDelta[n_] := If[TrueQ[n == 0], 1, 0] /; NumericQ[n]
KroneckerDelta[n__] := If[TrueQ[Equal[n]], 1, 0] /; VectorQ[{n}, NumericQ]
Sinc[0] := 1
Sinc[x_?NumericQ] := If[TrueQ[x == 0], 1, Sin[x]/x]
Surd[x_?NumericQ, n_Integer?OddQ] := If[x < 0, -(-x)^(1/n), x^(1/n)]
Surd[x_?NumericQ, n_Integer?EvenQ] := x^(1/n) /; x >= 0
DigitSum[n_Integer] := Total[IntegerDigits[n]]
DigitSum[n_Integer, b_Integer] := Total[IntegerDigits[n, b]]
PerfectNumberQ[n_Integer] := n > 1 && DivisorSigma[1, n] == 2 n
SquareFreeQ[n_Integer] := FreeQ[Last /@ FactorInteger[n], k_Integer /; k > 1]
PrimeNu[n_Integer] := If[Abs[n] == 1, 0, Length[FactorInteger[Abs[n]]]]
PrimeOmega[n_Integer] := If[Abs[n] == 1, 0, Total[Last /@ FactorInteger[Abs[n]]]]
LiouvilleLambda[n_Integer] := (-1)^PrimeOmega[n]
MangoldtLambda[n_Integer] := If[n > 1 && PrimeNu[n] == 1, Log[FactorInteger[n][[1, 1]]], 0]
NumberExpand[n_Integer] := With[{d = IntegerDigits[n]}, Sign[n] d 10^Range[Length[d] - 1, 0, -1]]
NumberDecompose[x_, u_List] := Module[{r = x, q}, Append[Map[(q = Quotient[r, #]; r = r - q #; q) &, Most[u]], r/Last[u]]]
FactorialPower[x_, n_Integer?NonNegative] := Product[x - i, {i, 0, n - 1}]
FactorialPower[x_, n_Integer?NonNegative, h_] := Product[x - i h, {i, 0, n - 1}]
Hyperfactorial[n_Integer?NonNegative] := Product[k^k, {k, n}]
ThueMorse[n_Integer?NonNegative] := Mod[Total[IntegerDigits[n, 2]], 2]
HeavisideTheta[x_List] := Map[HeavisideTheta, x]
HeavisideTheta[x_?NumericQ] := If[x > 0, 1, 0] /; x != 0
DiracDelta[x_?NumericQ] := 0 /; x != 0
SetPrecision[x_, MachinePrecision] := N[x]
SetPrecision[x_, p_?NumericQ] := N[Rationalize[x, 0], p]
Convergents[l_List] := Map[FromContinuedFraction[Take[l, #]] &, Range[Length[l]]]
Convergents[x_] := Convergents[ContinuedFraction[x]]
Convergents[x_, n_] := Convergents[ContinuedFraction[x, n]]
DirichletConvolve[f_, g_, n_, m_Integer] := Total[Map[(f /. n -> #) (g /. n -> m/#) &, Divisors[m]]]
SquareWave[x_?NumericQ] := If[Mod[x, 1] < 1/2, 1, -1]
Grad[f_, v_List] := Map[D[f, #] &, v]
Div[f_List, v_List] := Total[MapThread[D, {f, v}]]
Curl[{a_, b_}, {x_, y_}] := D[b, x] - D[a, y]
Curl[{a_, b_, c_}, {x_, y_, z_}] := {D[c, y] - D[b, z], D[a, z] - D[c, x], D[b, x] - D[a, y]}
Laplacian[f_, v_List] := Total[Map[D[f, {#, 2}] &, v]]
DSolveValue[e_, f_, x_] := With[{s = DSolve[e, f, x]}, If[ListQ[s], (f /. First[s]), $Failed]]
NDSolveValue[e_, f_[a_?NumericQ], r__] := With[{s = NDSolve[e, f, r]}, If[ListQ[s], (f /. First[s])[a], $Failed]]
NDSolveValue[e_, f_, r__] := With[{s = NDSolve[e, f, r]}, If[ListQ[s], (f /. First[s]), $Failed]]
NumberCompose[c_List, u_List] := Total[c u]
Dt[f_] := Total[Map[D[f, #] Dt[#] &, Variables[Level[f, {-1}]]]] /; AtomQ[f] === False && FreeQ[f, _Dt]
Dt[n_?NumericQ] := 0
Dt[x_Symbol, x_Symbol] := 1
Dt[f_, x_Symbol] := Total[Map[D[f, #] Dt[#, x] &, Variables[Level[f, {-1}]]]] /; AtomQ[f] === False
Dt[n_?NumericQ, x_] := 0
DayCount[a_, b_] := DateDifference[a, b]
InverseFunction[Sin] := ArcSin
InverseFunction[Cos] := ArcCos
InverseFunction[Tan] := ArcTan
InverseFunction[Sinh] := ArcSinh
InverseFunction[Cosh] := ArcCosh
InverseFunction[Tanh] := ArcTanh
InverseFunction[ArcSin] := Sin
InverseFunction[ArcCos] := Cos
InverseFunction[ArcTan] := Tan
InverseFunction[Exp] := Log
InverseFunction[Log] := Exp
