(* Functions of lists that Mathics3 lacks. See `language` for the form of this file. *)

Differences[l_List] := Rest[l] - Most[l]
Differences[l_List, n_Integer?NonNegative] := Nest[Differences, l, n]
Ratios[l_List] := Rest[l] / Most[l]
Ratios[l_List, n_Integer?NonNegative] := Nest[Ratios, l, n]
MinMax[l_List] := {Min[l], Max[l]}
MinMax[l_List, d_?NumericQ] := {Min[l] - d, Max[l] + d}
MinMax[l_List, Scaled[s_]] := With[{d = s (Max[l] - Min[l])}, {Min[l] - d, Max[l] + d}]
Clip[x_List] := Map[Clip, x]
Clip[x_List, r_List, v___] := Map[Clip[#, r, v] &, x]
Clip[x_?NumericQ] := Clip[x, {-1, 1}]
Clip[x_?NumericQ, {min_, max_}] := Which[x < min, min, x > max, max, True, x]
Clip[x_?NumericQ, {min_, max_}, {low_, high_}] := Which[x < min, low, x > max, high, True, x]
Rescale[l_List] := Rescale[l, {Min[l], Max[l]}]
Rescale[l_List, r_List, v___] := Map[Rescale[#, r, v] &, l]
Rescale[x_, {min_, max_}] := Rescale[x, {min, max}, {0, 1}]
Rescale[x_, {min_, max_}, {low_, high_}] := low + (x - min) (high - low) / (max - min)
Subdivide[n_Integer?Positive] := Range[0, n] / n
Subdivide[max_, n_Integer?Positive] := max Range[0, n] / n
Subdivide[min_, max_, n_Integer?Positive] := min + (max - min) Range[0, n] / n
FoldWhile[f_, x_, l_List, test_] := Module[{y = x, i = 1}, While[i <= Length[l] && TrueQ[test[y]], y = f[y, l[[i]]]; i++]; y]
FoldPairList[f_, x_, l_List] := FoldPairList[f, x, l, First]
FoldPairList[f_, x_, l_List, g_] := Module[{y = x, p}, Map[(p = f[y, #]; y = Last[p]; g[p]) &, l]]
FoldPair[f_, x_, l_List] := Last[FoldPairList[f, x, l]]
FoldPair[f_, x_, l_List, g_] := Last[FoldPairList[f, x, l, g]]
NestWhileList[f_, x_, test_] := NestWhileList[f, x, test, 1, Infinity]
NestWhileList[f_, x_, test_, m_Integer] := NestWhileList[f, x, test, m, Infinity]
NestWhileList[f_, x_, test_, m_Integer, max_] := Module[{l = {x}, n = 0},
  While[n < max && (Length[l] < m || TrueQ[Apply[test, Take[l, -m]]]), AppendTo[l, f[Last[l]]]; n++]; l]
Construct[f_, x___] := f[x]
Comap[l_List, x___] := Map[#[x] &, l]
Comap[f_Symbol] := Function[l, Comap[l, f]]
OperatorApplied[f_, 2] := Function[x, Function[y, f[y, x]]]
OperatorApplied[f_] := OperatorApplied[f, 2]
CurryApplied[f_, 2] := Function[x, Function[y, f[x, y]]]
SymmetricDifference[l__List] := Sort[Select[Union[l], OddQ[Total[Function[m, Boole[MemberQ[m, #]]] /@ {l}]] &]]
DeleteDuplicatesBy[l_List, f_] := Map[First, GatherBy[l, f]]
DeleteDuplicatesBy[f_] := Function[l, DeleteDuplicatesBy[l, f]]
DuplicateFreeQ[l_List] := Length[l] === Length[DeleteDuplicates[l]]
TakeWhile[l_List, test_] := Take[l, LengthWhile[l, test]]
LengthWhile[l_List, test_] := Module[{n = 0}, While[n < Length[l] && TrueQ[test[l[[n + 1]]]], n++]; n]
TakeList[l_List, n_List] := Module[{r = l, t}, Map[(t = If[# === All, r, Take[r, #]]; r = Drop[r, Length[t]]; t) &, n]]
TakeDrop[l_, n_] := {Take[l, n], Drop[l, n]}
SequenceFold[f_, x_List, l_List] := Last[SequenceFoldList[f, x, l]]
SequenceFoldList[f_, x_List, l_List] := Module[{r = x}, Do[AppendTo[r, Apply[f, Append[Take[r, -Length[x]], e]]], {e, l}]; r]
MaximalBy[l_List, f_] := With[{v = Map[f, l]}, Pick[l, v, Last[Sort[v]]]]
MaximalBy[l_List, f_, n_Integer] := Take[ReverseSortBy[l, f], UpTo[n]]
MaximalBy[f_] := Function[l, MaximalBy[l, f]]
MinimalBy[l_List, f_] := With[{v = Map[f, l]}, Pick[l, v, First[Sort[v]]]]
MinimalBy[l_List, f_, n_Integer] := Take[SortBy[l, f], UpTo[n]]
MinimalBy[f_] := Function[l, MinimalBy[l, f]]
ReverseSortBy[l_, f_] := Reverse[SortBy[l, f]]
ReverseSortBy[f_] := Function[l, ReverseSortBy[l, f]]
OrderingBy[l_List, f_] := Ordering[Map[f, l]]
OrderingBy[l_List, f_, n_] := Ordering[Map[f, l], n]
BlockMap[f_, l_List, n_] := Map[f, Partition[l, n]]
BlockMap[f_, l_List, n_, d_] := Map[f, Partition[l, n, d]]
ContainsAll[a_List, b_List] := Complement[b, a] === {}
ContainsAny[a_List, b_List] := Intersection[a, b] =!= {}
ContainsNone[a_List, b_List] := Intersection[a, b] === {}
ContainsExactly[a_List, b_List] := Union[a] === Union[b]
FlattenAt[l_, n_Integer] := MapAt[Apply[Sequence, #] &, l, n]
ArrayPad[l_List?VectorQ, n_, Padding -> x_] := ArrayPad[l, n, x]
ArrayPad[l_List?MatrixQ, n_Integer, Padding -> x_] := ArrayPad[l, n, x]
ArrayPad[l_List?VectorQ, n_Integer] := ArrayPad[l, n, 0]
ArrayPad[l_List?VectorQ, n_Integer, x_] := Join[ConstantArray[x, n], l, ConstantArray[x, n]]
ArrayPad[l_List?VectorQ, {m_Integer, n_Integer}] := Join[ConstantArray[0, m], l, ConstantArray[0, n]]
ArrayPad[l_List?VectorQ, {m_Integer, n_Integer}, x_] := Join[ConstantArray[x, m], l, ConstantArray[x, n]]
ArrayPad[l_List?MatrixQ, n_Integer] := ArrayPad[l, n, 0]
ArrayPad[l_List?MatrixQ, n_Integer, x_] := With[{w = Last[Dimensions[l]] + 2 n},
  Join[ConstantArray[x, {n, w}], Map[ArrayPad[#, n, x] &, l], ConstantArray[x, {n, w}]]]
ArrayFlatten[m_List] := Apply[Join, Map[Function[row, MapThread[Join, row]], m]]
UnitVector[n_Integer] := UnitVector[2, n]
Signature[l_List] := If[DuplicateFreeQ[l], (-1)^Count[Subsets[Ordering[l], {2}], {a_, b_} /; a > b], 0]
MapApply[f_, l_] := Apply[f, l, {1}]
SubsetMap[f_, l_List, p_List] := ReplacePart[l, Thread[p -> f[l[[p]]]]]
CountDistinct[l_List] := Length[DeleteDuplicates[l]]
CountDistinctBy[l_List, f_] := Length[DeleteDuplicates[Map[f, l]]]
Unitize[x_List] := Map[Unitize, x]
Unitize[x_?NumericQ] := If[TrueQ[x == 0], 0, 1]
Ramp[x_List] := Map[Ramp, x]
Ramp[x_?NumericQ] := If[x > 0, x, 0 x]
Downsample[l_List, n_Integer] := Take[l, {1, -1, n}]
Upsample[l_List, n_Integer] := Flatten[Map[Prepend[ConstantArray[0, n - 1], #] &, l]]
SequencePosition[l_List, s_List] := Map[{#, # + Length[s] - 1} &, Select[Range[Length[l] - Length[s] + 1], MatchQ[Take[l, {#, # + Length[s] - 1}], s] &]]
SequenceCases[l_List, s_List] := Module[{i = 1, n = Length[s], r = {}},
  While[i <= Length[l] - n + 1, If[MatchQ[Take[l, {i, i + n - 1}], s], AppendTo[r, Take[l, {i, i + n - 1}]]; i += n, i++]]; r]
SequenceCount[l_List, s_List] := Length[SequenceCases[l, s]]
SelectFirst[l_List, f_] := SelectFirst[l, f, Missing["NotFound"]]
SelectFirst[l_List, f_, default_] := Catch[Scan[If[TrueQ[f[#]], Throw[#, $selected]] &, l]; default, $selected]
SelectFirst[f_] := Function[l, SelectFirst[l, f]]
EchoLabel[label_] := Function[x, Echo[x, label]]
Echo[x_] := (Print[">> ", x]; x)
Echo[x_, label_] := (Print[">> ", label, " ", x]; x)
Echo[x_, label_, f_] := (Print[">> ", label, " ", f[x]]; x)
EchoFunction[f_] := Function[x, Print[">> ", f[x]]; x]
EchoFunction[label_, f_] := Function[x, Print[">> ", label, " ", f[x]]; x]
Attributes[Assert] = {HoldAll}
Assert[test_] := If[TrueQ[test], Null, Message[Assert::asrtf, HoldForm[test]]]
Assert::asrtf = "Assertion `1` failed."
MissingQ[_Missing] := True
MissingQ[_] := False
FailureQ[_Failure | $Failed | $Aborted | $Canceled] := True
FailureQ[_] := False
SquareMatrixQ[m_] := MatrixQ[m] && Apply[Equal, Dimensions[m]]
SymmetricMatrixQ[m_] := SquareMatrixQ[m] && m === Transpose[m]
HermitianMatrixQ[m_] := SquareMatrixQ[m] && m === Conjugate[Transpose[m]]
DiagonalMatrixQ[m_] := MatrixQ[m] && UpperTriangularMatrixQ[m] && UpperTriangularMatrixQ[Transpose[m]]
UpperTriangularMatrixQ[m_] := MatrixQ[m] && UpperTriangularize[m] === m
LowerTriangularMatrixQ[m_] := MatrixQ[m] && LowerTriangularize[m] === m
UpperTriangularize[m_] := UpperTriangularize[m, 0]
UpperTriangularize[m_, k_] := MapIndexed[If[Last[#2] - First[#2] >= k, #1, 0] &, m, {2}]
LowerTriangularize[m_] := LowerTriangularize[m, 0]
LowerTriangularize[m_, k_] := MapIndexed[If[Last[#2] - First[#2] <= k, #1, 0] &, m, {2}]
HilbertMatrix[n_Integer] := Table[1/(i + j - 1), {i, n}, {j, n}]
ToeplitzMatrix[l_List] := Table[l[[Abs[i - j] + 1]], {i, Length[l]}, {j, Length[l]}]
ToeplitzMatrix[n_Integer] := ToeplitzMatrix[Range[n]]
HankelMatrix[l_List] := Table[If[i + j - 1 <= Length[l], l[[i + j - 1]], 0], {i, Length[l]}, {j, Length[l]}]
HankelMatrix[n_Integer] := HankelMatrix[Range[n]]
VandermondeMatrix[l_List] := Table[If[j == 0, 1, x^j], {x, l}, {j, 0, Length[l] - 1}]
RotationMatrix[t_] := {{Cos[t], -Sin[t]}, {Sin[t], Cos[t]}}
Minors[m_?MatrixQ, k_Integer] := Table[Det[m[[r, c]]], {r, Subsets[Range[Length[m]], {k}]}, {c, Subsets[Range[Length[First[m]]], {k}]}]
Minors[m_?MatrixQ] := Minors[m, Length[m] - 1]
Adjugate[m_?MatrixQ] := Transpose[Table[(-1)^(i + j) Det[Delete[Map[Delete[#, j] &, m], i]], {i, Length[m]}, {j, Length[m]}]]
CharacteristicPolynomial[m_?MatrixQ, x_] := Expand[Det[m - x IdentityMatrix[Length[m]]]]
Attributes[FirstCase] = {HoldRest}
FirstCase[l_, p_] := FirstCase[l, p, Missing["NotFound"]]
FirstCase[l_, p_ -> r_, default_] := With[{c = Cases[l, p -> r, {1}]}, If[c === {}, default, First[c]]]
FirstCase[l_, p_ :> r_, default_] := With[{c = Cases[l, p :> r, {1}]}, If[c === {}, default, First[c]]]
FirstCase[l_, p_, default_] := With[{c = Cases[l, p, {1}]}, If[c === {}, default, First[c]]]
DeleteMissing[l_List] := DeleteCases[l, _Missing]
ListConvolve[k_List, l_List] := Map[Dot[Reverse[k], #] &, Partition[l, Length[k], 1]]
ListCorrelate[k_List, l_List] := Map[Dot[k, #] &, Partition[l, Length[k], 1]]
LeapYearQ[{y_Integer, ___}] := (Mod[y, 4] == 0 && Mod[y, 100] != 0) || Mod[y, 400] == 0
ArgMin[f_, x_] := With[{m = Minimize[f, x]}, If[ListQ[m], x /. Last[m], $Failed]]
ArgMax[f_, x_] := With[{m = Maximize[f, x]}, If[ListQ[m], x /. Last[m], $Failed]]
MinValue[f_, x_] := With[{m = Minimize[f, x]}, If[ListQ[m], First[m], $Failed]]
MaxValue[f_, x_] := With[{m = Maximize[f, x]}, If[ListQ[m], First[m], $Failed]]
Roots[e_, x_] := With[{s = Solve[e, x]}, If[ListQ[s], Apply[Or, Map[Apply[Equal, First[#]] &, s]], $Failed]]
AntisymmetricMatrixQ[m_] := SquareMatrixQ[m] && m === -Transpose[m]
ArrayRules[m_List] := With[{d = ArrayDepth[m]}, Append[Map[# -> Extract[m, #] &, Position[m, Except[0], {d}, Heads -> False]], Table[Blank[], {d}] -> 0]]
Extract[e_, n_Integer] := Extract[e, {n}]
CrossMatrix[r_Integer] := Table[Boole[i == 0 || j == 0], {i, -r, r}, {j, -r, r}]
BoxMatrix[r_Integer] := ConstantArray[1, {2 r + 1, 2 r + 1}]
DiamondMatrix[r_Integer] := Table[Boole[Abs[i] + Abs[j] <= r], {i, -r, r}, {j, -r, r}]
DiskMatrix[r_Integer] := Table[Boole[i^2 + j^2 <= (r + 1/2)^2], {i, -r, r}, {j, -r, r}]
EqualTo[y_][x_] := x == y
UnequalTo[y_][x_] := x != y
GreaterThan[y_][x_] := x > y
LessThan[y_][x_] := x < y
GreaterEqualThan[y_][x_] := x >= y
LessEqualThan[y_][x_] := x <= y
BooleanTable[e_, v_List] := Map[Function[values, e /. Thread[v -> values]], Tuples[{True, False}, Length[v]]]
