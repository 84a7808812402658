(* Functions of the language that a Wolfram kernel leaves as they are: objects, styles, forms. *)
{
Annotation, Around, Arrowheads, Because, BoxData, Button, Callout, CapForm, Cell, CellGroupData, Checkbox, CirclePlus,
CircleTimes, Column, ConditionalExpression, Dashed, Dashing, DateInterval, Defer, Deploy, Diamond, DirectedEdge,
Directive, DisplayForm, Dotted, Dynamic, DynamicModule, EdgeForm, Emphasis, Entity, EntityClass, EntityProperty,
EventHandler, FaceForm, Failure, FlipView, Framed, GeoCircle, GeoMarker, GeoPath, GeoPosition, Glow, GraphicsGroup,
Grid, Highlighted, HoldPattern, Hyperlink, ImageScaled, Inactive, InputField, Inset, Interpretation, Interval,
Invisible, Item, ItemBox, JoinForm, KernelObject, Key, KeyValuePattern, Labeled, Legended, Lighting, LinkObject,
Magnify, Manipulator, MenuView, Missing, Mouseover, Notebook, NotebookObject, Offset, Opacity, Opener, OpenerView,
OrderlessPatternSequence, OverBar, OverHat, OverTilde, OverVector, Overscript, Pane, Panel, PatternSequence, Placed,
PopupMenu, PopupView, ProcessObject, Quantity, RadioButton, RadioButtonBar, RawBoxes, RegularExpression, Rotate, Row,
Scaled, Setter, SetterBar, Skeleton, SlideView, Slider, Spacer, Specularity, Splice, Star, StatusArea, StringSkeleton,
Style, StyleData, Subscript, Subsuperscript, Success, Superscript, TabView, Text, TextCell, TextData, Texture,
Therefore, Thick, Thin, TimeObject, Toggler, TogglerBar, Tooltip, UnderBar, Underoverscript, Underscript,
UndirectedEdge, Vee, Verbatim, Wedge
}
