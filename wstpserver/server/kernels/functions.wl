(* The WSTPServer` functions of a kernel.

   wstpserver evaluates this text once in every kernel that does not bring the functions itself. Each function writes a
   command packet to the server on the kernel's own parent link and reads the answer, which is the next expression that
   comes on that link: the server sends nothing else while an evaluation is under way. Answers are JSON texts.

   The first and the last statement are sent by themselves, because names are looked up when a text is read, not when
   it is evaluated. Public names are written in full. *)

Begin["WSTPServer`Private`"];

WSTPServer`CloseKernel::usage = "CloseKernel[\"id\"] closes the kernel with the ID id.";
WSTPServer`ConnectKernel::usage = "ConnectKernel[], ConnectKernel[\"specifier\"] or ConnectKernel[\"specifier\", timeout] \
bridges the current connection with a kernel, given by its ID or by the name of its pool.";
WSTPServer`DisconnectKernel::usage = "DisconnectKernel[] unbridges the current connection with its kernel.";
WSTPServer`GetKernelID::usage = "GetKernelID[] gives the ID of the kernel.";
WSTPServer`GetPoolName::usage = "GetPoolName[] gives the name of the kernel's pool.";
WSTPServer`GetServerInformation::usage = "GetServerInformation[] gives an association that describes all pools and kernels.";
WSTPServer`SetAllowSilentKernelReplacement::usage = "SetAllowSilentKernelReplacement[setting] sets whether the kernel is \
replaced silently if it dies.";
WSTPServer`SetKeepAlive::usage = "SetKeepAlive[setting] sets whether the kernel stays alive when its bridge ends.";
WSTPServer`SetReserveKernel::usage = "SetReserveKernel[setting] sets whether the kernel, when unbridged, is only given to \
clients that request it by its ID.";
WSTPServer`StartKernel::usage = "StartKernel[] or StartKernel[\"commandLine\"] starts a kernel outside of any pools and gives \
its ID.";

(* The symbols in the context WSTPServer`Command` have no values, so a command is sent as it stands. Only the last part of
   their names matters to the server. *)
ask[command_] := Module[{answer},
  LinkWrite[$ParentLink, System`WSCommandPacket[command]];
  answer = LinkRead[$ParentLink];
  If[MatchQ[answer, ReturnPacket[_String]],
    Quiet[ImportString[First[answer], "RawJSON"]],
    $Failed]];

success[name_] := Success["WSTPServer", <|"MessageTemplate" -> name <> " succeeded."|>];

failure[name_] := Failure["WSTPServer", <|"MessageTemplate" -> name <> " failed."|>];

(* For functions that answer with data: the data, or a failure object. *)
result[name_, answer_] := If[AssociationQ[answer] && KeyExistsQ[answer, "result"],
  answer["result"],
  failure[name]];

(* For functions that only do something. *)
status[name_, answer_] := If[AssociationQ[answer] && Lookup[answer, "status"] === "ExecutionSuccess",
  success[name],
  failure[name]];

WSTPServer`CloseKernel[id_String] := status["CloseKernel", ask[WSTPServer`Command`CloseKernel[id]]];

WSTPServer`ConnectKernel[] := status["ConnectKernel", ask[WSTPServer`Command`ConnectKernel[]]];
WSTPServer`ConnectKernel[specifier_String] := status["ConnectKernel", ask[WSTPServer`Command`ConnectKernel[specifier]]];
WSTPServer`ConnectKernel[specifier_String, timeout_?NumericQ] :=
  status["ConnectKernel", ask[WSTPServer`Command`ConnectKernel[specifier, N[timeout]]]];

WSTPServer`DisconnectKernel[] := status["DisconnectKernel", ask[WSTPServer`Command`DisconnectKernel[]]];

WSTPServer`GetKernelID[] := result["GetKernelID", ask[WSTPServer`Command`GetKernelID[]]];

WSTPServer`GetPoolName[] := result["GetPoolName", ask[WSTPServer`Command`GetPoolName[]]];

WSTPServer`GetServerInformation[] := result["GetServerInformation", ask[WSTPServer`Command`GetServerInformation[]]];

WSTPServer`SetAllowSilentKernelReplacement[setting : True | False] :=
  status["SetAllowSilentKernelReplacement", ask[WSTPServer`Command`SetAllowSilentKernelReplacement[setting]]];

WSTPServer`SetKeepAlive[setting : True | False] := status["SetKeepAlive", ask[WSTPServer`Command`SetKeepAlive[setting]]];

WSTPServer`SetReserveKernel[setting : True | False] :=
  status["SetReserveKernel", ask[WSTPServer`Command`SetReserveKernel[setting]]];

WSTPServer`StartKernel[] := result["StartKernel", ask[WSTPServer`Command`StartKernel[]]];
WSTPServer`StartKernel[commandLine_String] := result["StartKernel", ask[WSTPServer`Command`StartKernel[commandLine]]];

End[];
