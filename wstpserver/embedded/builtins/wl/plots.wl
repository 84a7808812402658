(* Plots that Mathics3 lacks, made of Graphics and Graphics3D. *)

ArrayPlot[m_?MatrixQ, o___Rule] := With[{top = Max[Abs[N[m]], 10^-12], r = Length[m], c = Length[First[m]]},
  Graphics[{Table[{GrayLevel[1 - Min[1, Abs[N[m[[i, j]]]]/top]], Rectangle[{j - 1, r - i}, {j, r - i + 1}]}, {i, r}, {j, c}],
    GrayLevel[0.5], Line[{{0, 0}, {c, 0}, {c, r}, {0, r}, {0, 0}}]}, o]]
MatrixPlot[m_?MatrixQ, o___Rule] := With[{top = Max[Abs[N[m]], 10^-12], r = Length[m], c = Length[First[m]]},
  Graphics[{Table[{With[{v = N[m[[i, j]]]/top}, If[v >= 0, RGBColor[1, 1 - 0.5 v, 1 - v], RGBColor[1 + v, 1 + 0.5 v, 1]]], Rectangle[{j - 1, r - i}, {j, r - i + 1}]}, {i, r}, {j, c}],
    GrayLevel[0.5], Line[{{0, 0}, {c, 0}, {c, r}, {0, r}, {0, 0}}]}, o]]
ListPlot3D[m_?MatrixQ, o___Rule] := Graphics3D[Table[Map[Polygon, {
    {{j, i, m[[i, j]]}, {j + 1, i, m[[i, j + 1]]}, {j + 1, i + 1, m[[i + 1, j + 1]]}},
    {{j, i, m[[i, j]]}, {j + 1, i + 1, m[[i + 1, j + 1]]}, {j, i + 1, m[[i + 1, j]]}}}],
    {i, Length[m] - 1}, {j, Length[First[m]] - 1}], o, Axes -> True, BoxRatios -> {1, 1, 0.4}]
ListPointPlot3D[l : {{_, _, _} ..}, o___Rule] := Graphics3D[Map[Point, l], o, Axes -> True, BoxRatios -> {1, 1, 0.4}]
Attributes[ParametricPlot3D] = {HoldAll}
ParametricPlot3D[f_, {t_, a_, b_}, o___Rule] := Graphics3D[Line[N[Table[f, {t, N[a], N[b], N[(b - a)/150]}]]], o, Axes -> True]
