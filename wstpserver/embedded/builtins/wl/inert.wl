(* Functions of the language that a Wolfram kernel leaves as they are: objects, styles, forms. *)
{
Annotation, Arrowheads, Because, BernoulliDistribution, BetaDistribution, BinomialDistribution, BoxData, Button,
Callout, CapForm, Cell, CellGroupData, Checkbox, ChiSquareDistribution, CirclePlus, CircleTimes, Column,
ConditionalExpression, Cycles, Dashed, Dashing, Dataset, DateInterval, Defer, Deploy, Diamond, DirectedEdge, Directive,
DiscreteUniformDistribution, DisplayForm, Dotted, Dynamic, DynamicModule, EdgeForm, Emphasis, Entity, EntityClass,
EntityProperty, EventHandler, ExponentialDistribution, FaceForm, Failure, FlipView, Framed, GammaDistribution,
GeoCircle, GeoMarker, GeoPath, GeoPosition, GeometricDistribution, Glow, Graph, GraphicsGroup, Grid, Highlighted,
HoldPattern, Hyperlink, ImageScaled, Inactive, InputField, Inset, Interpretation, Invisible, Item, ItemBox, JoinForm,
KernelObject, Key, KeyValuePattern, Labeled, Legended, Lighting, LinkObject, LogNormalDistribution, Magnify,
Manipulator, MenuView, Missing, Mouseover, NormalDistribution, Notebook, NotebookObject, Offset, Opacity, Opener,
OpenerView, OrderlessPatternSequence, OverBar, OverHat, OverTilde, OverVector, Overscript, Pane, Panel,
PatternSequence, Placed, PoissonDistribution, PopupMenu, PopupView, ProcessObject, Quantity, Query, RadioButton,
RadioButtonBar, RawBoxes, RegularExpression, Rotate, Row, Scaled, Setter, SetterBar, Skeleton, SlideView, Slider,
Spacer, Specularity, Splice, Star, StatusArea, StringSkeleton, StudentTDistribution, Style, StyleData, Subscript,
Subsuperscript, Success, Superscript, TabView, Text, TextCell, TextData, Texture, Therefore, Thick, Thin, TimeObject,
Toggler, TogglerBar, Tooltip, UnderBar, Underoverscript, Underscript, UndirectedEdge, UniformDistribution, Vee,
Verbatim, Wedge, WeibullDistribution
}
