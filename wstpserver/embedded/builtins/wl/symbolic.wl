(* Functions that a Wolfram kernel leaves as they are for symbols: nothing is said about these. *)
{
AbsArg, BitAnd, BitNot, BitOr, BitShiftLeft, BitShiftRight, BitXor, CDF, Clip, DiracDelta, Dt, ErfInverse, HeavisideTheta,
Hyperfactorial, Inactive, InterpolatingFunction, InverseCDF, KroneckerDelta, LogIntegral, NormalDistribution, PDF, Ramp,
Rescale, Sinc, SinIntegral, SquareWave, StringTemplate, Surd, UniformDistribution, Unitize, Association, Function,
Interrupt, MissingQ, FailureQ, Echo, InputForm
}
