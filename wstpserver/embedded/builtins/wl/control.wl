(* Control and errors that Mathics3 lacks. *)

Attributes[Enclose] = {HoldAll}
Enclose[e_] := Catch[e, $ConfirmationTag]
Enclose[e_, f_] := Module[{failed = False, r}, r = Catch[r = e; failed = True; r, $ConfirmationTag]; If[failed, r, f[r]]]
Confirm[x_] := If[FailureQ[x] || MissingQ[x], Throw[Failure["ConfirmationFailed", <|"MessageTemplate" -> "Confirmation failed.", "Expression" -> x|>], $ConfirmationTag], x]
Confirm[x_, info_] := If[FailureQ[x] || MissingQ[x], Throw[Failure["ConfirmationFailed", <|"MessageTemplate" -> info, "Expression" -> x|>], $ConfirmationTag], x]
ConfirmBy[x_, f_] := If[TrueQ[f[x]], x, Confirm[$Failed]]
Attributes[RepeatedTiming] = {HoldAll}
RepeatedTiming[e_] := AbsoluteTiming[e]
Permute[l_List, p : {__Integer}] := l[[Ordering[p]]]
PermutationList[Cycles[c_List]] := PermutationList[Cycles[c], Max[c]]
PermutationList[Cycles[c_List], n_Integer] := Module[{p = Range[n]}, Scan[Function[y, Do[p[[y[[k]]]] = y[[Mod[k, Length[y]] + 1]], {k, Length[y]}]], c]; p]
